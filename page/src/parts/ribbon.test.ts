import type { TimelineEvent } from "../data/api.ts";
import { stretchesOf } from "./ribbon.tsx";

const event = (month: number, change: TimelineEvent["change"]): TimelineEvent => ({
  at: new Date(Date.UTC(2026, month - 1)).toISOString(),
  change,
  root: "/",
});

Deno.test("a video is listed, held, gone, and back", () => {
  const newestFirst = [
    event(6, "came_back"),
    event(5, "looked"),
    event(4, "deleted"),
    event(3, "archived"),
    event(2, "retitled"),
    event(1, "first_look"),
  ];
  const found = stretchesOf(newestFirst, Date.UTC(2026, 6)).map((one) => [
    new Date(one.from).getUTCMonth() + 1,
    new Date(one.to).getUTCMonth() + 1,
    one.held,
    one.gone,
  ]);
  const wanted = [[1, 3, false, false], [3, 4, true, false], [4, 6, true, true], [6, 7, true, false]];
  if (JSON.stringify(found) !== JSON.stringify(wanted)) throw new Error(JSON.stringify(found));
});

Deno.test("a video that left a list is not known to be gone", () => {
  const found = stretchesOf([event(2, "vanished"), event(1, "archived")], Date.UTC(2026, 6));
  if (found.length !== 1 || found[0]?.gone) throw new Error(JSON.stringify(found));
});

Deno.test("of nothing nothing is known", () => {
  if (stretchesOf([], 1).length) throw new Error("stretches");
});
