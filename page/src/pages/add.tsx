import { Heading } from "../parts/basics.tsx";

export function Add() {
  return <Heading title="Add" />;
}
