import { Heading } from "../parts/basics.tsx";

export function Care() {
  return <Heading title="Care" />;
}
