/** Log records and events as the logging service has them. Pure. */

export interface LogRecord {
  timestamp: string;
  service: string;
  level: string;
  event: string;
  trace_id: string;
  /** What else is in the record, by name. */
  rest: [string, string][];
}

const NAMED = new Set(["timestamp", "service", "level", "event", "trace_id"]);
const QUIET = new Set(["version", "instance", "logger", "message_id"]);

export function recordOf(raw: Record<string, unknown>): LogRecord {
  const text = (name: string) => typeof raw[name] === "string" ? raw[name] as string : "";
  const rest = Object.entries(raw).filter(([name, value]) => !NAMED.has(name) && !QUIET.has(name) && value !== null);
  return {
    timestamp: text("timestamp"),
    service: text("service") || text("source").split("/", 1)[0] || "?",
    level: text("level"),
    event: text("event"),
    trace_id: text("trace_id"),
    rest: rest.map(([name, value]) => [name, typeof value === "string" ? value : JSON.stringify(value)]),
  };
}

/** An event name as words: "download_failed" → "download failed". */
export function words(name: string): string {
  return name.replaceAll(/[_.]/g, " ");
}

/** What a record says, in one line: its message, else its first values. */
export function gist(record: LogRecord): string {
  const values = new Map(record.rest);
  const message = values.get("error_message") ?? values.get("message") ?? values.get("title");
  return message ?? record.rest.slice(0, 3).map(([name, value]) => `${name} ${value}`).join(", ");
}
