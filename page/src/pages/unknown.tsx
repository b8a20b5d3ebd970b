import { Heading } from "../parts/basics.tsx";

export function Unknown() {
  return (
    <>
      <Heading title="Nothing is here" about="This address is none of the page's. It may be of another version." />
      <p>
        <a href="/">Today</a> shows what happens, <a href="/library">Library</a> what you have.
      </p>
    </>
  );
}
