import { Heading } from "../parts/basics.tsx";

export function SettingsPage() {
  return <Heading title="Settings" />;
}
