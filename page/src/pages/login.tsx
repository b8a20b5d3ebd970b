import { Heading } from "../parts/basics.tsx";

export function Login() {
  return <Heading title="Login" />;
}
