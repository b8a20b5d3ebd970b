import { indexAt, pieces } from "./cues.ts";

const equal = (found: unknown, wanted: unknown) => {
  if (JSON.stringify(found) !== JSON.stringify(wanted)) {
    throw new Error(`${JSON.stringify(found)} instead of ${JSON.stringify(wanted)}`);
  }
};

Deno.test("the current line is the last one that has begun", () => {
  const starts = [0, 2, 2, 5.5];
  equal([-1, 0, 1.99, 2, 5.4, 5.5, 99].map((at) => indexAt(starts, at)), [-1, 0, 0, 2, 2, 3, 3]);
  equal(indexAt([], 3), -1);
  equal(indexAt([4], 3), -1);
});

Deno.test("matches are found without regard to case, each once", () => {
  equal(pieces("Hello hello", "HELLO"), [["Hello", true], [" ", false], ["hello", true]]);
  equal(pieces("aaa", "aa"), [["aa", true], ["a", false]]);
  equal(pieces("no", "  "), [["no", false]]);
  equal(pieces("<b>x</b>", "<b>"), [["<b>", true], ["x</b>", false]]);
  equal(pieces("İstanbul", "stan"), [["İstanbul", true]]);
});
