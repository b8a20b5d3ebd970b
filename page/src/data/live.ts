/** The one live stream of the page. It is open while the page is visible, and goes on where it was. */
import { signal } from "@preact/signals";
import type { Job, Progress } from "./api.ts";

/** A message of the bus, in brief. */
export interface News {
  type: string;
  at: string;
  trace_id: string;
  source: string;
  data:
    & { job_id?: string; video_id?: string; title?: string | null; job?: Job; progress?: Progress }
    & Record<string, unknown>;
}

export type Connection = "connecting" | "live" | "lost";

export const connection = signal<Connection>("connecting");
/** The downloads that run now, by video id. */
export const running = signal<ReadonlyMap<string, News>>(new Map());

type Listener = { topics: ReadonlySet<string>; tell: (news: News | null) => void };
const listeners = new Set<Listener>();
const ENDS = new Set([
  "download.completed",
  "download.failed",
  "download.cancelled",
  "download.deferred",
  "video.archived",
]);
const HIDDEN_AFTER = 5_000; // ms
const SILENT = 90_000; // ms without a message of a download, which reports every 5 s: its worker is gone
const moved = new Map<string, number>(); // when each download was last heard of

/** A message of the stream, as tabs pass it to each other. */
interface Passed {
  name: string;
  id: string;
  data: string;
}

const NAMES = ["snapshot", "resumed", "away", "event", "progress"] as const;
/** One tab has the stream and passes it to the others: browsers open six connections to one host only. Where a browser
 * cannot share (it needs https or this machine), each visible tab has its own. */
const channel = "locks" in navigator && "BroadcastChannel" in globalThis
  ? new BroadcastChannel("ytarchive-live")
  : null;

let source: EventSource | null = null;
let last = "";
let closing: number | undefined;
let waiting: AbortController | null = null; // for the turn to have the stream
let release: (() => void) | null = null;

/** Call `tell` for each message whose subject begins with one of `topics`, and with null when messages were missed:
 * everything that is shown must be read again then. Return a function that ends it. */
export function onNews(topics: readonly string[], tell: (news: News | null) => void): () => void {
  const listener = { topics: new Set(topics), tell };
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Follow the bus from now on. */
export function connect(): void {
  channel?.addEventListener("message", (message: MessageEvent<Passed>) => {
    if (message.data.name === "hello") {
      if (source !== null && connection.value === "live") {
        pass("state", last, JSON.stringify({ running: [...running.value.values()] }));
      }
    } else take(message.data.name, message.data.id, message.data.data);
  });
  document.addEventListener("visibilitychange", () => {
    clearTimeout(closing);
    if (document.visibilityState === "visible") join();
    else closing = setTimeout(leave, HIDDEN_AFTER);
  });
  globalThis.addEventListener("pagehide", leave);
  globalThis.addEventListener("pageshow", join);
  setInterval(() => {
    const now = Date.now();
    const left = [...running.value].filter(([id]) =>
      now - (moved.get(id) ?? moved.set(id, now).get(id) ?? now) < SILENT
    );
    if (left.length < running.value.size) running.value = new Map(left);
    for (const id of moved.keys()) if (!running.value.has(id)) moved.delete(id);
  }, SILENT / 6);
  join();
}

/** Have the stream, now or when the tab that has it leaves. */
function join(): void {
  if (channel === null) {
    open();
    return;
  }
  if (waiting !== null) return;
  waiting = new AbortController();
  pass("hello", "", "");
  const turn = () =>
    new Promise<void>((done) => {
      release = done;
      open();
    });
  navigator.locks.request("ytarchive-live", { signal: waiting.signal }, turn).catch(() => {}); // it has left meanwhile
}

function leave(): void {
  source?.close();
  source = null;
  if (release) release();
  else waiting?.abort();
  release = waiting = null;
}

function pass(name: string, id: string, data: string): void {
  channel?.postMessage({ name, id, data } satisfies Passed);
}

function open(): void {
  if (source !== null) return;
  source = new EventSource(last ? `/api/v1/live?last=${encodeURIComponent(last)}` : "/api/v1/live");
  source.onerror = () => {
    connection.value = "lost";
    pass("away", last, "");
    if (source?.readyState === EventSource.CLOSED) { // an answer that is no stream: the browser does not try again
      source = null;
      setTimeout(() => {
        if (channel === null || release !== null) open();
      }, 2_000);
    }
  };
  for (const name of NAMES) {
    source.addEventListener(name, (message: MessageEvent<string>) => {
      take(name, message.lastEventId, message.data);
      pass(name, message.lastEventId, message.data);
    });
  }
}

/** Take over what a message says. */
function take(name: string, id: string, data: string): void {
  if (name === "away") {
    connection.value = "lost";
    return;
  }
  last = id;
  connection.value = "live";
  if (name === "snapshot" || name === "state") {
    const found = JSON.parse(data) as { running: News[] };
    running.value = new Map(found.running.map((news) => [String(news.data.video_id), news]));
    if (name === "snapshot") { for (const listener of listeners) listener.tell(null); }
  } else if (name === "progress") {
    const news = JSON.parse(data) as News;
    moved.set(String(news.data.video_id), Date.now());
    running.value = new Map(running.value).set(String(news.data.video_id), news);
  } else if (name === "event") {
    tellAll(JSON.parse(data) as News);
  }
}

function tellAll(news: News): void {
  if (ENDS.has(news.type) && running.value.has(String(news.data.video_id))) {
    const left = new Map(running.value);
    left.delete(String(news.data.video_id));
    running.value = left;
  }
  const topic = news.type.slice(0, news.type.indexOf("."));
  for (const listener of listeners) if (listener.topics.has(topic)) listener.tell(news);
}
