import { causesOf, centre, factsOf, LANE, ROW, sentence, storyOf, videosOf } from "./story.ts";

function equal(found: unknown, expected: unknown) {
  if (JSON.stringify(found) !== JSON.stringify(expected)) {
    throw new Error(`${JSON.stringify(found)} is not ${JSON.stringify(expected)}`);
  }
}

function event(id: string, subject: string, second: number, cause: string | null, data: object = {}) {
  const at = new Date(Date.UTC(2026, 0, 1, 12, 0, second)).toISOString();
  const publisher = subject.startsWith("download.r") || subject.startsWith("job") ? "jobs" : "download";
  return {
    event: "event_seen",
    message_id: id,
    subject,
    timestamp: at,
    caused_by: cause,
    source: `${publisher}/7`,
    data,
  };
}

const VIDEO = { video_id: "demo-000001", title: "One" };
const ENTRIES = [
  event("1", "job.queued", 0, null),
  event("2", "download.requested", 1, "1", VIDEO),
  event("3", "download.failed", 2, "2", { ...VIDEO, failure: { reason: "timeout" } }),
  { event: "attempt_failed", service: "download", level: "warning", timestamp: "2026-01-01T12:00:01.900Z", code: 1 },
  event("4", "download.requested", 32, "3", VIDEO),
  event("5", "download.requested", 33, "missing", { video_id: "demo-000002" }),
];

Deno.test("lanes, waits, arrows and the failing step", () => {
  const story = storyOf(ENTRIES);
  equal(story.lanes, ["jobs", "download"]);
  equal(story.rows.map((row) => sentence(row)), [
    "jobs: job queued",
    "jobs: download requested: One",
    "download: download failed: One",
    "30 s: a pause before the next attempt, after: timeout",
    "jobs: download requested: One",
    "jobs: download requested: demo-000002",
  ]);
  equal(story.arrows.map(({ from, to }) => [from, to]), [[0, 1], [1, 2], [2, 4]]);
  equal(story.failing, 2);
});

Deno.test("an arrow in one lane is straight, one to another lane ends at its row", () => {
  const [straight, bent] = storyOf(ENTRIES).arrows;
  equal(straight?.path, `M${LANE / 2} ${ROW / 2}V${centre(1, ROW)}`);
  equal(bent?.path.endsWith(`V${centre(2, ROW)}`), true);
});

Deno.test("a step has its causes, back to the beginning", () => {
  equal([...causesOf(storyOf(ENTRIES), 4)], [4, 2, 1, 0]);
});

Deno.test("the values of a step are told without the ids of our machinery", () => {
  const failed = storyOf(ENTRIES).rows[2];
  equal(failed?.kind === "event" && factsOf(failed), [
    ["video id", "demo-000001"],
    ["title", "One"],
    ["failure reason", "timeout"],
  ]);
});

Deno.test("records belong to the nearest event of their service", () => {
  const failed = storyOf(ENTRIES).rows[2];
  equal(failed?.kind === "event" && failed.records.map((record) => record.event), ["attempt_failed"]);
});

Deno.test("a story can be about one video", () => {
  equal(storyOf(ENTRIES, "demo-000002").rows.map((row) => sentence(row)), [
    "jobs: job queued",
    "33 s: the list was read",
    "jobs: download requested: demo-000002",
  ]);
  equal([...videosOf(ENTRIES)], [["demo-000001", "One"], ["demo-000002", "demo-000002"]]);
});

Deno.test("nothing makes an empty story", () => {
  equal(storyOf([]), { lanes: [], rows: [], arrows: [], failing: -1 });
});
