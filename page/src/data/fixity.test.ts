import type { Disk, FixityAges } from "./api.ts";
import { ageColumns, ageName, agesSentence, diskParts, forecast, share, timeColumns } from "./fixity.ts";

function equal(found: unknown, expected: unknown): void {
  const [left, right] = [JSON.stringify(found), JSON.stringify(expected)];
  if (left !== right) throw new Error(`${left} is not ${right}`);
}

const NOW = Date.parse("2026-05-01T12:00:00Z");
const AGES: FixityAges = {
  interval_days: 90,
  videos: 3,
  bytes: 3_000_000,
  within: 2_999_000,
  oldest: "2026-01-01",
  next_round: null,
  buckets: [
    { from_days: 0, to_days: 90, videos: 2, bytes: 2_999_000, overdue: false },
    { from_days: 90, to_days: null, videos: 1, bytes: 1_000, overdue: true },
  ],
};
const DISK: Disk = {
  roots: ["/archive"],
  archived: 300e9,
  total_bytes: 1000e9,
  free_bytes: 500e9,
  min_free: 1e9,
  bytes_per_day: 10e9,
  days_left: 49.9,
};

Deno.test("a share that is not complete is never shown as all", () => {
  equal([share(1, 1), share(9999, 10_000), share(972, 1000), share(1, 2), share(1, 100_000), share(0, 5)], [
    "100 %",
    "99.9 %",
    "97.2 %",
    "50 %",
    "under 0.1 %",
    "0 %",
  ]);
});

Deno.test("the ages are told in one sentence", () => {
  equal(
    agesSentence(AGES, NOW),
    "99.9 % of 3.00 MB was read and compared within 90 days. The oldest reading is 120 days old.",
  );
  equal(agesSentence({ ...AGES, videos: 0 }, NOW), "Nothing is archived yet, so there is nothing to read.");
  equal(
    agesSentence({ ...AGES, interval_days: 0, oldest: "2026-05-01" }, NOW),
    "Nothing is verified by itself: [fixity] interval_days is 0. The oldest reading is of today.",
  );
});

Deno.test("buckets have names, and the overdue ones are marked", () => {
  const of = (from_days: number, to_days: number | null) =>
    ageName({ from_days, to_days, videos: 0, bytes: 0, overdue: false });
  equal([of(0, 1), of(1, 2), of(0, 10), of(90, 135), of(360, null)], [
    "today",
    "1 day",
    "0–9 days",
    "90–134 days",
    "360 days or more",
  ]);
  equal(ageColumns(AGES).map((one) => [one.label, one.marked]), [["0", false], ["90+", true]]);
});

Deno.test("the forecast of a disk", () => {
  equal(forecast(DISK, NOW), {
    text: "At 10.0 GB a day, as lately, it is full in 49 d 21 h, about 20 Jun 2026.",
    kind: "warn",
  });
  equal(forecast({ ...DISK, days_left: 3 }, NOW).kind, "bad");
  equal(forecast({ ...DISK, free_bytes: 5e8 }, NOW).kind, "bad");
  equal(forecast({ ...DISK, free_bytes: null }, NOW).kind, "bad");
  equal(forecast({ ...DISK, bytes_per_day: 0, days_left: null }, NOW).text, "Nothing was added in the last 30 days.");
});

Deno.test("the parts of a disk are the whole disk", () => {
  const parts = diskParts(DISK);
  equal(parts.map((part) => part.bytes), [300e9, 200e9, 499e9, 1e9]);
  equal(Math.round(parts.reduce((total, part) => total + part.share, 0) * 1000), 1000);
  equal(diskParts({ ...DISK, total_bytes: null }), []);
});

Deno.test("months have no gaps, and become years when they are many", () => {
  const totals = [
    { month: null, videos: 1, bytes: 5 },
    { month: "2025-12", videos: 2, bytes: 10 },
    { month: "2026-02", videos: 1, bytes: 7 },
  ];
  equal(timeColumns(totals).map((one) => [one.label, one.value]), [["?", 5], ["Dec", 10], ["Jan", 0], ["Feb", 7]]);
  equal(timeColumns(totals, 2).map((one) => [one.label, one.value]), [["?", 5], ["2025", 10], ["2026", 7]]);
  equal(timeColumns([]), []);
});
