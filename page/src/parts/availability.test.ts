import type { TimelineEvent } from "../data/api.ts";
import { stepsOf } from "./availability.tsx";

const event = (at: string, change: TimelineEvent["change"], video_id: string | null = null): TimelineEvent => ({
  at: `2026-0${at}-01T00:00:00Z`,
  change,
  root: "/",
  video_id,
});

Deno.test("videos that went and came back are counted at each change", () => {
  const newestFirst = [
    event("5", "came_back", "a"),
    event("4", "retitled", "c"),
    event("3", "deleted", "b"),
    event("3", "private", "a"),
    event("2", "appeared", "c"),
    event("1", "first_look"),
  ];
  const found = stepsOf(newestFirst).map((step) => [new Date(step.at).getUTCMonth() + 1, step.gone]);
  const wanted = [[1, 0], [2, 0], [3, 2], [5, 1]];
  if (JSON.stringify(found) !== JSON.stringify(wanted)) throw new Error(JSON.stringify(found));
});

Deno.test("without changes there are no steps", () => {
  if (stepsOf([]).length) throw new Error("steps");
});
