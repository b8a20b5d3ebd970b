import { Heading } from "../parts/basics.tsx";

export function LogsPage() {
  return <Heading title="Logs" />;
}
