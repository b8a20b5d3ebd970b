import { Heading } from "../parts/basics.tsx";

export function Channel() {
  return <Heading title="Channel" />;
}
