import { bookmarklet, sharedTargets, targetsIn } from "./targets.ts";

function equal(found: unknown, expected: unknown) {
  if (JSON.stringify(found) !== JSON.stringify(expected)) {
    throw new Error(`${JSON.stringify(found)} is not ${JSON.stringify(expected)}`);
  }
}

Deno.test("targets are separated by lines or spaces, each once", () => {
  equal(targetsIn(" a\nb  c\r\na\n"), ["a", "b", "c"]);
});

Deno.test("what is shared may be the address, or a text with it", () => {
  const of = (query: Record<string, string>) => sharedTargets((name) => query[name] ?? "");
  equal(of({ t: "x y" }), ["x", "y"]);
  equal(of({ text: "Look: https://youtu.be/abc !" }), ["https://youtu.be/abc"]);
  equal(of({ title: "no address" }), []);
});

Deno.test("the bookmark leads to the page that it was copied from", () => {
  equal(
    bookmarklet("http://127.0.0.1:8005"),
    'javascript:location.href="http://127.0.0.1:8005/add?t="+encodeURIComponent(location.href)',
  );
});
