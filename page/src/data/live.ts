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

let source: EventSource | null = null;
let last = "";
let closing: number | undefined;

/** Call `tell` for each message whose subject begins with one of `topics`, and with null when messages were missed:
 * everything that is shown must be read again then. Return a function that ends it. */
export function onNews(topics: readonly string[], tell: (news: News | null) => void): () => void {
  const listener = { topics: new Set(topics), tell };
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Follow the bus from now on. */
export function connect(): void {
  document.addEventListener("visibilitychange", () => {
    clearTimeout(closing);
    if (document.visibilityState === "visible") open();
    else closing = setTimeout(close, HIDDEN_AFTER);
  });
  globalThis.addEventListener("pagehide", close);
  open();
}

function open(): void {
  if (source !== null) return;
  source = new EventSource(last ? `/api/v1/live?last=${encodeURIComponent(last)}` : "/api/v1/live");
  source.onerror = () => {
    connection.value = "lost";
    if (source?.readyState === EventSource.CLOSED) { // an answer that is no stream: the browser does not try again
      source = null;
      setTimeout(open, 2_000);
    }
  };
  source.addEventListener("snapshot", (message) => {
    const found = JSON.parse(message.data) as { running: News[] };
    running.value = new Map(found.running.map((news) => [String(news.data.video_id), news]));
    arrived(message);
    for (const listener of listeners) listener.tell(null);
  });
  source.addEventListener("resumed", arrived);
  source.addEventListener("away", () => {
    last = "";
    connection.value = "lost";
  });
  source.addEventListener("progress", (message) => {
    arrived(message);
    const news = JSON.parse(message.data) as News;
    running.value = new Map(running.value).set(String(news.data.video_id), news);
  });
  source.addEventListener("event", (message) => {
    arrived(message);
    const news = JSON.parse(message.data) as News;
    if (ENDS.has(news.type) && running.value.has(String(news.data.video_id))) {
      const left = new Map(running.value);
      left.delete(String(news.data.video_id));
      running.value = left;
    }
    const topic = news.type.slice(0, news.type.indexOf("."));
    for (const listener of listeners) if (listener.topics.has(topic)) listener.tell(news);
  });
}

function arrived(message: MessageEvent): void {
  last = message.lastEventId;
  connection.value = "live";
}

function close(): void {
  source?.close();
  source = null;
}
