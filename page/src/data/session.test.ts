import { ownPath } from "./session.ts";

const equal = (found: string, wanted: string) => {
  if (found !== wanted) throw new Error(`${found} instead of ${wanted}`);
};

Deno.test("a login leads to a path of this page only", () => {
  equal(ownPath("/v/abc?at=3"), "/v/abc?at=3");
  for (
    const other of [
      "",
      "https://evil.example/",
      "//evil.example",
      "/\\evil.example",
      "javascript:alert(1)",
      "/login?next=/x",
      "/a b",
    ]
  ) {
    equal(ownPath(other), "/");
  }
});
