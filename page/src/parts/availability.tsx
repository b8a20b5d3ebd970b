/** What became of the videos of a list over time: listed, and gone, from its history. */
import type { TimelineEvent } from "../data/api.ts";
import { useRead } from "../data/read.ts";
import { count, day, moment } from "../data/units.ts";
import { Section, Table } from "./basics.tsx";
import { Numbers } from "./plots.tsx";

export interface Step {
  at: number;
  gone: number;
}

const GOES = new Set(["private", "deleted", "vanished", "found_gone"]);
const COMES = new Set(["came_back"]);

/** How many videos were gone after each change, oldest first. Pure. */
export function stepsOf(events: readonly TimelineEvent[]): Step[] {
  const gone = new Set<string>();
  const steps: Step[] = [];
  for (const event of [...events].reverse()) {
    const video = event.video_id ?? "";
    if (GOES.has(event.change)) gone.add(video);
    else if (COMES.has(event.change)) gone.delete(video);
    else if (event.change !== "first_look" && event.change !== "appeared") continue;
    const at = Date.parse(event.at);
    if (steps.at(-1)?.at === at) (steps.at(-1) as Step).gone = gone.size;
    else steps.push({ at, gone: gone.size });
  }
  return steps;
}

export function Availability({ id, total, gone }: { id: string; total: number; gone: number }) {
  const history = useRead("/api/v1/storage/history/{id}", { path: { id }, query: { limit: 500 }, topics: ["listing"] });
  const events = history.data?.events ?? [];
  const steps = stepsOf(events);
  const changes = events.filter((event) => event.change !== "first_look");
  if (!history.data) return null;
  return (
    <Section title="Over time">
      {steps.length > 1 && total > 0 && <Area steps={steps} total={total} gone={gone} />}
      {changes.length
        ? (
          <Table caption="What changed, newest first" head={["When", "What", "Video"]}>
            {changes.slice(0, 100).map((event, index) => (
              <tr key={index}>
                <td class="number">{moment(event.at)}</td>
                <td>{CHANGES[event.change] ?? event.change}</td>
                <td>{event.video_id && <a href={`/v/${event.video_id}`}>{event.title ?? event.video_id}</a>}</td>
              </tr>
            ))}
          </Table>
        )
        : (
          <p class="small">
            Nothing has changed since the first look{events.at(-1) ? `, on ${day(events.at(-1)?.at)}` : ""}.
          </p>
        )}
    </Section>
  );
}

const CHANGES: Record<string, string> = {
  appeared: "was added",
  vanished: "is no longer listed",
  private: "became private",
  deleted: "was deleted",
  came_back: "came back",
  retitled: "was retitled",
};

function Area({ steps, total, gone }: { steps: readonly Step[]; total: number; gone: number }) {
  const first = steps[0]?.at ?? 0;
  const end = Math.max(Date.now(), (steps.at(-1)?.at ?? 0) + 1);
  const x = (at: number) => ((at - first) / (end - first)) * 1000;
  const most = Math.max(total, gone, ...steps.map((step) => step.gone), 1);
  const y = (value: number) => 80 - (value / most) * 80;
  let path = `M0 80 `;
  for (const [index, step] of steps.entries()) {
    path += `L${x(step.at).toFixed(1)} ${y(step.gone).toFixed(1)} H${x(steps[index + 1]?.at ?? end).toFixed(1)} `;
  }
  const title = `${count(gone, "video")} of ${total} are no longer on YouTube`;
  return (
    <figure class="plot">
      <svg viewBox="0 0 1000 80" role="img" aria-label={title} preserveAspectRatio="none">
        <rect width="1000" height="80" class="of-listed" />
        <path d={`${path}V80 Z`} class="of-gone" />
      </svg>
      <div class="plot-ends" aria-hidden="true">
        <span>{day(new Date(first).toISOString())}</span>
        <span>now</span>
      </div>
      <ul class="legend">
        <li>
          <svg viewBox="0 0 1 1" aria-hidden="true">
            <rect width="1" height="1" class="of-gone" />
          </svg>gone from YouTube
        </li>
        <li>
          <svg viewBox="0 0 1 1" aria-hidden="true">
            <rect width="1" height="1" class="of-listed" />
          </svg>still there
        </li>
      </ul>
      <Numbers
        title={title}
        head={["From", "Gone"]}
        rows={steps.map((step) => [moment(new Date(step.at).toISOString()), step.gone])}
      />
    </figure>
  );
}
