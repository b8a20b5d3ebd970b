/** Log records as rows. */
import type { LogRecord } from "../data/records.ts";
import { gist, words } from "../data/records.ts";
import { Facts, Tag } from "./basics.tsx";

const KINDS: Record<string, string> = { error: "bad", critical: "bad", warning: "warn" };

export function Records({ records, story = true }: { records: readonly LogRecord[]; story?: boolean }) {
  return (
    <ul class="plain records">
      {records.map((record, index) => (
        <li key={`${record.timestamp}${index}`}>
          <details>
            <summary>
              <time dateTime={record.timestamp}>{exact(record.timestamp)}</time>
              <Tag kind={KINDS[record.level]}>{record.level || "event"}</Tag>
              <span class="record-service">{record.service}</span>
              <span class="record-text">
                <strong>{words(record.event)}</strong> {gist(record)}
              </span>
            </summary>
            <Facts rows={record.rest.map(([name, value]) => [name, value] as const)} />
            {story && record.trace_id && (
              <p>
                <a href={`/t/${encodeURIComponent(record.trace_id)}`}>What led to it, and what followed</a>
              </p>
            )}
          </details>
        </li>
      ))}
    </ul>
  );
}

/** Date and time to the millisecond, local. */
export function exact(timestamp: string): string {
  const date = new Date(timestamp);
  if (Number.isNaN(date.getTime())) return timestamp;
  const time = date.toLocaleTimeString("en-GB");
  const milliseconds = String(date.getMilliseconds()).padStart(3, "0");
  const today = date.toDateString() === new Date().toDateString();
  const day = today ? "" : `${date.toLocaleDateString("en-GB", { day: "numeric", month: "short" })} `;
  return `${day}${time}.${milliseconds}`;
}
