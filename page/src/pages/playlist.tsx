import { Heading } from "../parts/basics.tsx";

export function Playlist() {
  return <Heading title="Playlist" />;
}
