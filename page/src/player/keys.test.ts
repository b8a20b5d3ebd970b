import { actionOf, speedAfter } from "./keys.ts";

const equal = (found: unknown, wanted: unknown) => {
  if (JSON.stringify(found) !== JSON.stringify(wanted)) {
    throw new Error(`${JSON.stringify(found)} instead of ${JSON.stringify(wanted)}`);
  }
};

Deno.test("keys are those of YouTube", () => {
  equal(actionOf("k"), { do: "toggle" });
  equal(actionOf("j"), { do: "seek", by: -10 });
  equal(actionOf("7"), { do: "part", of: 0.7 });
  equal(actionOf("x"), undefined);
});

Deno.test("speeds have ends", () => {
  equal([speedAfter(1, 1), speedAfter(1, -1), speedAfter(3, 1), speedAfter(0.25, -1)], [1.25, 0.75, 3, 0.25]);
});
