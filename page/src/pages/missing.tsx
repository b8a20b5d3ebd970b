import { Heading } from "../parts/basics.tsx";

export function Missing() {
  return <Heading title="Missing" />;
}
