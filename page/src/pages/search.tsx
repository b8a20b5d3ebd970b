import { Heading } from "../parts/basics.tsx";

export function Search() {
  return <Heading title="Search" />;
}
