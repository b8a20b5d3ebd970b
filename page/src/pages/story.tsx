import { Heading } from "../parts/basics.tsx";

export function Story() {
  return <Heading title="Story" />;
}
