/** The story of a trace: its events in lanes by service, what caused what, and the waits between. Pure. */
import { type LogRecord, recordOf, words } from "./records.ts";
import { span } from "./units.ts";

export const ROW = 30; // height of a row
export const LANE = 22; // width of a lane
const FOLDED = 8; // seconds without an event that are shown as a wait
const LANES = ["cli", "jobs", "metadata", "download", "storage", "logging"];

export interface StoryEvent {
  kind: "event";
  id: string;
  subject: string;
  at: string;
  service: string;
  cause: string | null;
  data: Record<string, unknown>;
  /** "bad": it failed; "warn": it is put off; "good": something was saved or has ended well. */
  state: "bad" | "warn" | "good" | "";
  /** What its service wrote about that time. */
  records: LogRecord[];
}

export interface StoryWait {
  kind: "wait";
  seconds: number;
  why: string;
}

export interface Story {
  lanes: string[];
  rows: (StoryEvent | StoryWait)[];
  /** From the row of a cause to the row of its effect, as the path of a line. */
  arrows: { from: number; to: number; path: string }[];
  /** The row of the last failure; -1: nothing failed. */
  failing: number;
}

/** Entries as GET /logs/traces has them, oldest first → the story. `video`: only what is about it. */
export function storyOf(entries: readonly Record<string, unknown>[], video = ""): Story {
  const events = entries.filter((entry) => entry.event === "event_seen").map(eventOf)
    .filter((event) => !video || concerns(event, video));
  attach(events, entries.filter((entry) => entry.event !== "event_seen").map(recordOf));
  const present = new Set(events.map((event) => event.service));
  const lanes = [
    ...LANES.filter((name) => present.has(name)),
    ...[...present].filter((name) => !LANES.includes(name)).sort(),
  ];
  const rows: Story["rows"] = [];
  events.forEach((event, index) => {
    const before = events[index - 1];
    const seconds = before ? (Date.parse(event.at) - Date.parse(before.at)) / 1000 : 0;
    if (seconds >= FOLDED) rows.push({ kind: "wait", seconds, why: whyWaited(events.slice(0, index), event) });
    rows.push(event);
  });
  const failing = rows.findLastIndex((row) => row.kind === "event" && row.state === "bad");
  return { lanes, rows, arrows: arrowsOf(rows, lanes), failing };
}

function eventOf(raw: Record<string, unknown>): StoryEvent {
  const text = (name: string) => typeof raw[name] === "string" ? raw[name] as string : "";
  const subject = text("subject");
  const data = typeof raw.data === "object" && raw.data !== null ? raw.data as Record<string, unknown> : {};
  return {
    kind: "event",
    id: text("message_id"),
    subject,
    at: text("timestamp"),
    service: text("source").split("/", 1)[0] || "?",
    cause: text("caused_by") || null,
    data,
    state: stateOf(subject),
    records: [],
  };
}

function stateOf(subject: string): StoryEvent["state"] {
  if (/failed$|^dead\.lettered$/.test(subject)) return "bad";
  if (/deferred$|cancelled$|blocked$|withdrawn$/.test(subject)) return "warn";
  return subject === "video.archived" || subject === "job.completed" ? "good" : "";
}

/** An event of a list is about all of its videos. */
function concerns(event: StoryEvent, video: string): boolean {
  return event.data.video_id === video || event.data.video_id === undefined;
}

/** Give each record to the event of its service that is nearest in time, and about the same video if it names one. */
function attach(events: StoryEvent[], records: readonly LogRecord[]): void {
  for (const record of records) {
    const video = new Map(record.rest).get("video_id");
    const own = events.filter((event) => event.service === record.service);
    const about = own.filter((event) => video !== undefined && event.data.video_id === video);
    nearest(about.length ? about : own.length ? own : events, Date.parse(record.timestamp))?.records.push(record);
  }
}

function nearest(events: readonly StoryEvent[], at: number): StoryEvent | undefined {
  const distance = (event: StoryEvent) => Math.abs(Date.parse(event.at) - at);
  return events.reduce<StoryEvent | undefined>(
    (best, event) => best === undefined || distance(event) < distance(best) ? event : best,
    undefined,
  );
}

function arrowsOf(rows: Story["rows"], lanes: readonly string[]): Story["arrows"] {
  const place = new Map<string, number>();
  const arrows: Story["arrows"] = [];
  rows.forEach((row, to) => {
    if (row.kind !== "event") return;
    const from = row.cause === null ? undefined : place.get(row.cause);
    const cause = from === undefined ? undefined : rows[from];
    if (from !== undefined && cause?.kind === "event") {
      const [x1, y1] = [centre(lanes.indexOf(cause.service), LANE), centre(from, ROW)];
      const [x2, y2] = [centre(lanes.indexOf(row.service), LANE), centre(to, ROW)];
      const bend = Math.min(ROW, (y2 - y1) / 2);
      const path = x1 === x2
        ? `M${x1} ${y1}V${y2}`
        : `M${x1} ${y1}C${x1} ${y1 + bend} ${x2} ${y1} ${x2} ${y1 + bend}V${y2}`;
      arrows.push({ from, to, path });
    }
    place.set(row.id, to);
  });
  return arrows;
}

/** The middle of a lane or a row. */
export function centre(index: number, size: number): number {
  return index * size + size / 2;
}

/** Why nothing happened between the events before and the next one. */
function whyWaited(before: readonly StoryEvent[], next: StoryEvent): string {
  const about = (event: StoryEvent) => next.data.video_id === undefined || event.data.video_id === next.data.video_id;
  const last = before.findLast(about) ?? before.at(-1);
  const failure = last?.data.failure as Record<string, unknown> | undefined;
  const reason = String(failure?.reason ?? last?.data.reason ?? "");
  const name = String(last?.data.title ?? last?.data.video_id ?? "");
  switch (last?.subject) {
    case "download.failed":
      return `a pause before the next attempt${reason && `, after: ${words(reason)}`}`;
    case "download.deferred":
      return reason === "source_blocked" ? "YouTube blocks this machine" : `put off: ${words(reason)}`;
    case "listing.failed":
      return "a pause before the list is read again";
    case "source.blocked":
      return `YouTube blocks this machine: ${words(reason)}`;
    case "download.started":
    case "metadata.fetched":
      return `the download${name && ` of ${name}`} ran`;
    case "download.requested":
      return "it waited for a free slot";
    case "download.completed":
      return "storage checked the files and took them in";
    case "job.created":
    case "job.queued":
      return "the list was read";
  }
  return "nothing of it happened";
}

/** The rows on the way from the beginning to a row: what caused it, what caused that, and so on. */
export function causesOf(story: Story, row: number): Set<number> {
  const from = new Map(story.arrows.map((arrow) => [arrow.to, arrow.from]));
  const found = new Set<number>();
  for (let at: number | undefined = row; at !== undefined && !found.has(at); at = from.get(at)) found.add(at);
  return found;
}

/** An event in words: "download failed: Third lecture". `names`: titles by video id. */
export function titleOf(event: StoryEvent, names: ReadonlyMap<string, string> = new Map()): string {
  const { data } = event;
  const job = data.job as Record<string, unknown> | undefined;
  const about = names.get(String(data.video_id)) ?? data.title ?? job?.title ?? data.video_id ?? data.playlist_id ?? "";
  return about ? `${words(event.subject)}: ${about}` : words(event.subject);
}

/** A row in words, for the list and for screen readers. */
export function sentence(row: StoryEvent | StoryWait, names?: ReadonlyMap<string, string>): string {
  return row.kind === "wait" ? `${span(row.seconds)}: ${row.why}` : `${row.service}: ${titleOf(row, names)}`;
}

const UNTOLD = new Set([
  ...["job", "job_id", "root", "dispatch_id", "fetch_id", "type", "options", "targets", "number", "revision"],
  ...["entries", "held", "files", "provenance", "metadata", "page_keys", "source_name"],
]);

/** The values of an event that tell something, by name; a part of a value has both names. */
export function factsOf(event: StoryEvent): [string, string][] {
  const told = Object.entries(event.data).filter(([name]) => !UNTOLD.has(name));
  return told.flatMap(([name, value]) => {
    if (typeof value !== "object" || value === null || Array.isArray(value)) return [[name, value]];
    return Object.entries(value).filter(([part]) => !(part in event.data)).map(([part, inner]) => [
      `${name} ${part}`,
      inner,
    ]);
  }).filter(([, value]) => value !== null && value !== "").map(([name, value]) => [
    words(String(name)),
    typeof value === "string" ? value : JSON.stringify(value),
  ]);
}

/** The videos that a story is about, with their titles. */
export function videosOf(entries: readonly Record<string, unknown>[]): Map<string, string> {
  const videos = new Map<string, string>();
  for (const entry of entries) {
    const data = entry.data as Record<string, unknown> | undefined;
    if (entry.event !== "event_seen" || typeof data?.video_id !== "string") continue;
    const titles = [data, data.metadata, data.unavailable, data.failed].map((part) =>
      (part as Record<string, unknown> | null | undefined)?.title
    );
    const title = titles.find((one) => typeof one === "string");
    if (typeof title === "string" || !videos.has(data.video_id)) {
      videos.set(data.video_id, typeof title === "string" ? title : data.video_id);
    }
  }
  return videos;
}
