/** What the figures of Care mean, in words and as columns. Pure. */
import type { AgeBucket, Disk, FindingKind, FixityAges, MonthTotals } from "./api.ts";
import type { Column } from "./columns.ts";
import { bytes, count, day, span } from "./units.ts";

const DAY = 86_400;

/** 0.9996 → "99.9 %": what is not complete is never shown as 100 %. */
export function share(part: number, whole: number): string {
  if (whole <= 0 || part >= whole) return "100 %";
  const tenths = Math.floor((part / whole) * 1000);
  if (tenths === 0 && part > 0) return "under 0.1 %";
  return `${(tenths / 10).toFixed(tenths % 10 ? 1 : 0)} %`;
}

/** How much was read in time, as a sentence. */
export function agesSentence(ages: FixityAges, now: number = Date.now()): string {
  if (!ages.videos) return "Nothing is archived yet, so there is nothing to read.";
  const oldest = ages.oldest ? `The oldest reading is ${daysAgo(ages.oldest, now)}.` : "";
  if (!ages.interval_days) {
    return `Nothing is verified by itself: [fixity] interval_days is 0. ${oldest}`.trim();
  }
  const part = `${share(ages.within, ages.bytes)} of ${bytes(ages.bytes)}`;
  return `${part} was read and compared within ${count(ages.interval_days, "day")}. ${oldest}`.trim();
}

/** "2026-01-31" → "today", "1 day old", "40 days old". */
export function daysAgo(date: string, now: number = Date.now()): string {
  const days = Math.max(0, Math.floor((now - Date.parse(`${date}T00:00:00Z`)) / (DAY * 1000)));
  return days === 0 ? "of today" : `${count(days, "day")} old`;
}

export function ageName(bucket: AgeBucket): string {
  const last = bucket.to_days === null ? null : bucket.to_days - 1;
  if (last === null) return `${count(bucket.from_days, "day")} or more`;
  return last === bucket.from_days
    ? bucket.from_days === 0 ? "today" : count(last, "day")
    : `${bucket.from_days}–${last} days`;
}

export function ageColumns(ages: FixityAges): Column[] {
  return ages.buckets.map((bucket) => ({
    label: bucket.to_days === null ? `${bucket.from_days}+` : String(bucket.from_days),
    value: bucket.bytes,
    text: `${ageName(bucket)}: ${bytes(bucket.bytes)} in ${count(bucket.videos, "video")}`,
    marked: bucket.overdue,
  }));
}

/** How long a disk lasts. `kind` as of a tag. */
export function forecast(disk: Disk, now: number = Date.now()): { text: string; kind: "good" | "warn" | "bad" | "" } {
  if (disk.free_bytes === null) {
    return { text: "It is not mounted, or cannot be read. Nothing is saved there until it is back.", kind: "bad" };
  }
  if (disk.free_bytes <= disk.min_free) {
    return {
      text: `Full but for the reserve of ${bytes(disk.min_free)}: downloads wait. Free some space, or lower min_free.`,
      kind: "bad",
    };
  }
  if (disk.bytes_per_day === null) return { text: "A forecast needs a day of growth first.", kind: "" };
  if (disk.days_left === null) return { text: "Nothing was added in the last 30 days.", kind: "good" };
  const rate = `At ${bytes(disk.bytes_per_day)} a day, as lately,`;
  if (disk.days_left > 3650) return { text: `${rate} it lasts for more than ten years.`, kind: "good" };
  const end = new Date(now + disk.days_left * DAY * 1000).toISOString();
  const kind = disk.days_left < 14 ? "bad" : disk.days_left < 60 ? "warn" : "good";
  return { text: `${rate} it is full in ${span(disk.days_left * DAY)}, about ${day(end)}.`, kind };
}

/** The parts of a disk, in shares of its size. */
export function diskParts(disk: Disk): { name: string; bytes: number; share: number }[] {
  if (disk.total_bytes === null || disk.free_bytes === null || disk.total_bytes <= 0) return [];
  const total = disk.total_bytes;
  const reserve = Math.min(disk.min_free, disk.free_bytes);
  const other = Math.max(0, total - disk.free_bytes - disk.archived);
  return [
    { name: "archive", bytes: disk.archived },
    { name: "other files", bytes: other },
    { name: "free", bytes: disk.free_bytes - reserve },
    { name: "reserve", bytes: reserve },
  ].map((part) => ({ ...part, share: Math.min(1, part.bytes / total) }));
}

export const FINDINGS: Record<FindingKind, { name: string; kind: string; about: string }> = {
  missing: { name: "missing", kind: "bad", about: "The file is gone." },
  changed: { name: "changed", kind: "bad", about: "Its bytes are not those that were saved." },
  unreadable: { name: "unreadable", kind: "bad", about: "The disk, or its rights, did not let it be read." },
  extra: { name: "not ours", kind: "", about: "A file that no manifest lists. It is reported and left as it is." },
};

/** Totals by month without gaps: months while there are at most `most`, else years. Unknown months come first. */
export function timeColumns(totals: readonly MonthTotals[], most = 48): Column[] {
  const known = totals.filter((one): one is MonthTotals & { month: string } => /^\d{4}-\d{2}$/.test(one.month ?? ""));
  const unknown = totals.filter((one) => !known.includes(one as never));
  const first = known[0];
  const last = known.at(-1);
  const columns = unknown.length ? [column("?", "of an unknown date", unknown)] : [];
  if (!first || !last) return columns;
  const months = monthsBetween(first.month, last.month);
  const yearly = months.length > most;
  const periods = yearly ? [...new Set(months.map((month) => month.slice(0, 4)))] : months;
  return [
    ...columns,
    ...periods.map((period) =>
      column(
        yearly ? period : monthName(period),
        yearly ? period : `${monthName(period)} ${period.slice(0, 4)}`,
        known.filter((one) => one.month.startsWith(period)),
      )
    ),
  ];
}

function column(label: string, name: string, of: readonly MonthTotals[]): Column {
  const [videos, size] = [sum(of.map((one) => one.videos)), sum(of.map((one) => one.bytes))];
  return { label, value: size, text: `${name}: ${count(videos, "video")}, ${bytes(size)}` };
}

function monthsBetween(first: string, last: string): string[] {
  const months: string[] = [];
  let [year, month] = [Number(first.slice(0, 4)), Number(first.slice(5))];
  for (let at = first; at <= last && months.length < 5_000;) {
    months.push(at);
    [year, month] = month === 12 ? [year + 1, 1] : [year, month + 1];
    at = `${String(year).padStart(4, "0")}-${String(month).padStart(2, "0")}`;
  }
  return months;
}

function monthName(month: string): string {
  return new Date(`${month}-15T12:00:00`).toLocaleDateString("en-GB", { month: "short" });
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
