/** `/t/{trace}`: what happened, step by step: which service did what, why, and what it waited for. */
import { useMemo, useRef } from "preact/hooks";
import type { TracePage } from "../data/api.ts";
import { read } from "../data/client.ts";
import { useReading } from "../data/read.ts";
import {
  causesOf,
  centre,
  factsOf,
  LANE,
  ROW,
  sentence,
  type Story as StoryPicture,
  type StoryEvent,
  storyOf,
  titleOf,
  videosOf,
} from "../data/story.ts";
import { recordOf } from "../data/records.ts";
import { count, moment, span } from "../data/units.ts";
import { type Address, useAddress } from "../parts/address.ts";
import { Empty, Facts, Heading, Notice, Section, Shown, Table, Tag } from "../parts/basics.tsx";
import { exact, Records } from "../parts/records.tsx";

const PAGE = 500;
const MOST = 3_000; // entries
const LARGE = 1_000; // entries
const ENDS = new Set(["job.completed", "job.cancelled", "job.failed"]);
const NEWS = ["job", "listing", "archive", "download", "metadata", "video", "work_plan", "source", "storage", "dead"];

const TIME = /^\d{4}-\d\d-\d\dT/;

type Names = ReadonlyMap<string, string>;
type Found = Pick<TracePage, "entries" | "total" | "complete">;

export function Story({ id }: { id: string }) {
  const address = useAddress();
  const large = useRef(false); // is read again only at its end
  const trace = useReading(
    id,
    (signal) => readTrace(id, signal),
    NEWS,
    (news) => news.trace_id === id && (!large.current || ENDS.has(news.type)),
  );
  large.current = (trace.data?.total ?? 0) > LARGE;
  return (
    <Shown of={trace} waiting="Reading what happened…">
      {(found) => <Told id={id} found={found} address={address} />}
    </Shown>
  );
}

async function readTrace(id: string, signal: AbortSignal): Promise<Found> {
  const entries: Record<string, unknown>[] = [];
  while (true) {
    const page = await read("/api/v1/logs/traces/{trace_id}", {
      path: { trace_id: id },
      query: { limit: PAGE, offset: entries.length },
    }, signal);
    entries.push(...page.entries);
    if (!page.entries.length || entries.length >= Math.min(page.total, MOST)) {
      return { entries, total: page.total, complete: page.complete };
    }
  }
}

function Told({ id, found, address }: { id: string; found: Found; address: Address }) {
  const video = address.get("video");
  const story = useMemo(() => storyOf(found.entries, video), [found.entries, video]);
  const videos = useMemo(() => videosOf(found.entries), [found.entries]);
  const events = story.rows.filter((row): row is StoryEvent => row.kind === "event");
  const step = address.get("step");
  const chosen = events.find((event) => event.id === step) ?? failingOf(story) ?? events.at(-1);
  const begun = events[0]?.at;
  const ended = events.at(-1)?.at;
  const job = events.find((event) => typeof event.data.job_id === "string")?.data.job_id as string | undefined;
  return (
    <>
      <Heading
        title="Story"
        about={begun && ended ? `${count(events.length, "step")}, begun ${moment(begun)}, ${lasted(begun, ended)}` : id}
      >
        {job && <a class="button" href={`/j/${job}`}>The job</a>}
        <a class="button" href={`/logs?trace=${encodeURIComponent(id)}`}>All its log lines</a>
      </Heading>
      {found.total > found.entries.length && (
        <Notice>
          Only the first {MOST.toLocaleString("en")} of {found.total.toLocaleString("en")} entries are shown.
        </Notice>
      )}
      {found.complete === false && (
        <Notice kind="warn">Older journals were not searched: the beginning may be missing.</Notice>
      )}
      {videos.size > 1 && <OneVideo videos={videos} video={video} address={address} />}
      {events.length
        ? (
          <div class="story">
            <Picture story={story} chosen={chosen} address={address} names={videos} />
            {chosen && <Step event={chosen} names={videos} />}
          </div>
        )
        : found.entries.length
        ? (
          <Section title="No service did anything else because of it">
            <Records records={found.entries.map(recordOf)} story={false} />
          </Section>
        )
        : (
          <Empty title="Nothing is known of this">
            <p>
              Journals are kept for some time only, and a story that has just begun appears within seconds.{" "}
              <a href="/activity?show=history">Jobs</a> lead to their stories.
            </p>
          </Empty>
        )}
      {events.length > 0 && <AsTable story={story} names={videos} />}
    </>
  );
}

function lasted(begun: string, ended: string): string {
  const seconds = (Date.parse(ended) - Date.parse(begun)) / 1000;
  return seconds < 1 ? "done within a second" : `over ${span(seconds)}`;
}

function failingOf(story: StoryPicture): StoryEvent | undefined {
  const row = story.rows[story.failing];
  return row?.kind === "event" ? row : undefined;
}

function OneVideo({ videos, video, address }: { videos: Map<string, string>; video: string; address: Address }) {
  return (
    <p class="narrow one-video">
      <label for="story-video">Show</label>{" "}
      <select
        id="story-video"
        value={video}
        onChange={(event) => address.go({ video: event.currentTarget.value, step: "" })}
      >
        <option value="">everything</option>
        {[...videos].map(([key, title]) => <option key={key} value={key}>{title.slice(0, 80)}</option>)}
      </select>
    </p>
  );
}

/** Lanes by service on the left, a line for each cause; the same in words beside it. */
function Picture({ story, chosen, address, names }: {
  story: StoryPicture;
  chosen: StoryEvent | undefined;
  address: Address;
  names: Names;
}) {
  const causes = causesOf(story, story.rows.findIndex((row) => row === chosen));
  const width = story.lanes.length * LANE;
  const height = story.rows.length * ROW;
  return (
    <div class="story-picture">
      <ul class="legend" aria-label="Lanes">
        {story.lanes.map((name, index) => (
          <li key={name}>
            <span class={`swatch lane-${index}`} aria-hidden="true" />
            {name}
          </li>
        ))}
      </ul>
      <div class="story-rows">
        <svg
          width={width}
          height={height}
          viewBox={`0 0 ${width} ${height}`}
          role="img"
          aria-label={`${count(story.rows.length, "step")} in the lanes of ${
            story.lanes.join(", ")
          }; the table below has the same`}
        >
          {story.lanes.map((name, index) => (
            <line key={name} class="lane" x1={centre(index, LANE)} x2={centre(index, LANE)} y1={0} y2={height} />
          ))}
          {story.arrows.map((arrow) => (
            causes.has(arrow.to) ? null : <path key={arrow.to} class="cause" d={arrow.path} />
          ))}
          {story.arrows.filter((arrow) => causes.has(arrow.to)).map((arrow) => (
            <path key={arrow.to} class="cause of-chosen" d={arrow.path} />
          ))}
          {story.rows.map((row, index) =>
            row.kind === "wait"
              ? (
                <rect
                  key={index}
                  class="fold"
                  x={2}
                  y={centre(index, ROW) - 3}
                  width={Math.max(4, width - 4)}
                  height={6}
                  rx={3}
                />
              )
              : (
                <Mark
                  key={row.id}
                  event={row}
                  x={centre(story.lanes.indexOf(row.service), LANE)}
                  y={centre(index, ROW)}
                  lane={story.lanes.indexOf(row.service)}
                />
              )
          )}
        </svg>
        <ol class="story-steps">
          {story.rows.map((row, index) => (
            <li key={index} class={row.kind === "wait" ? "story-wait" : undefined}>
              {row.kind === "wait"
                ? <span>{sentence(row, names)}</span>
                : (
                  <a href={address.with({ step: row.id })} aria-current={row === chosen ? "step" : undefined}>
                    {row.state === "bad" && <Tag kind="bad">failed</Tag>}
                    <span class="story-text">{titleOf(row, names)}</span>
                    {row.records.some((record) => record.level === "error") && <Tag kind="bad">error</Tag>}
                  </a>
                )}
            </li>
          ))}
        </ol>
      </div>
    </div>
  );
}

/** A square marks a failure, a ring what was put off, a dot everything else. */
function Mark({ event, x, y, lane }: { event: StoryEvent; x: number; y: number; lane: number }) {
  if (event.state === "bad") return <rect class="mark bad" x={x - 6} y={y - 6} width={12} height={12} />;
  if (event.state === "warn") return <circle class="mark warn" cx={x} cy={y} r={5} />;
  return <circle class={`mark lane-${lane}`} cx={x} cy={y} r={5} />;
}

function Step({ event, names }: { event: StoryEvent; names: Names }) {
  return (
    <Section title={titleOf(event, names)}>
      <div class="story-step">
        <p class="small">
          <time dateTime={event.at}>{exact(event.at)}</time> · published by {event.service}
        </p>
        <Facts rows={factsOf(event).map(([name, value]) => [name, TIME.test(value) ? exact(value) : value] as const)} />
        <h3>What {event.service} wrote then</h3>
        {event.records.length
          ? <Records records={event.records} story={false} />
          : <p class="small">Nothing about this step.</p>}
      </div>
    </Section>
  );
}

function AsTable({ story, names }: { story: StoryPicture; names: Names }) {
  return (
    <details class="as-table">
      <summary>The same as a table</summary>
      <Table caption="The steps of this story" head={["Time", "Service", "What", "Because of"]}>
        {story.rows.map((row, index) => {
          if (row.kind === "wait") {
            return (
              <tr key={index}>
                <td colSpan={4}>{sentence(row)}</td>
              </tr>
            );
          }
          const arrow = story.arrows.find((one) => one.to === index);
          const cause = arrow ? story.rows[arrow.from] : undefined;
          return (
            <tr key={index}>
              <td>{exact(row.at)}</td>
              <td>{row.service}</td>
              <td>{titleOf(row, names)}</td>
              <td>{cause?.kind === "event" ? titleOf(cause, names) : ""}</td>
            </tr>
          );
        })}
      </Table>
    </details>
  );
}
