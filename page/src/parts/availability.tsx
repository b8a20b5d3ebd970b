/** What became of the videos of a list over time, from its history. */
import type { AvailabilityPoint } from "../data/api.ts";
import { useRead } from "../data/read.ts";
import { count, day, moment } from "../data/units.ts";
import { Section, Table } from "./basics.tsx";
import { Numbers } from "./plots.tsx";

const MOST = 100; // changes that are listed

/** The parts of the picture from the bottom up, with the class of each. */
const PARTS = [["closed", "of-gone", "private or deleted"], ["left", "of-left", "no longer in the list"], [
  "listed",
  "of-listed",
  "in the list",
]] as const;

/** `id`: of the playlist; of a channel, that of its uploads. */
export function Availability({ id }: { id: string }) {
  const over = useRead("/api/v1/storage/playlists/{playlist_id}/availability", {
    path: { playlist_id: id },
    topics: ["listing"],
  });
  const history = useRead("/api/v1/storage/history/{id}", {
    path: { id },
    query: { limit: MOST },
    topics: ["listing"],
  });
  if (!history.data) return null;
  const { events, total } = history.data;
  const changes = events.filter((event) => event.change !== "first_look");
  const points = over.data?.points ?? [];
  return (
    <Section title="Over time">
      {points.length > 1 && <Area points={points} />}
      {changes.length
        ? (
          <>
            <Table caption="What changed, newest first" head={["When", "What", "Video"]}>
              {changes.map((event, index) => (
                <tr key={index}>
                  <td class="number">{moment(event.at)}</td>
                  <td>{CHANGES[event.change] ?? event.change}</td>
                  <td>{event.video_id && <a href={`/v/${event.video_id}`}>{event.title ?? event.video_id}</a>}</td>
                </tr>
              ))}
            </Table>
            {total > events.length && (
              <p class="small">
                The newest {events.length} of {count(total, "event")}. <code>ytarchive storage history {id}</code>{" "}
                shows all.
              </p>
            )}
          </>
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

/** The outline of each part, in a field of 1000 by 80, from the bottom up: a part covers those above it. Pure. */
export function outlines(points: readonly AvailabilityPoint[], end: number): { name: string; path: string }[] {
  const first = Date.parse(points[0]?.at ?? "");
  const most = Math.max(1, ...points.map((one) => one.listed + one.closed + one.left));
  const x = (at: number) => (((at - first) / Math.max(end - first, 1)) * 1000).toFixed(1);
  return PARTS.map(([name], part) => {
    let path = "M0 80 ";
    for (const [index, one] of points.entries()) {
      const below = PARTS.slice(0, part + 1).reduce((sum, [each]) => sum + one[each], 0);
      const next = points[index + 1];
      path += `L${x(Date.parse(one.at))} ${(80 - (below / most) * 80).toFixed(1)} H${
        x(next ? Date.parse(next.at) : end)
      } `;
    }
    return { name, path: `${path}V80 Z` };
  });
}

function Area({ points }: { points: readonly AvailabilityPoint[] }) {
  const [first, last] = [points[0] as AvailabilityPoint, points.at(-1) as AvailabilityPoint];
  const paths = outlines(points, Math.max(Date.now(), Date.parse(last.at) + 1));
  const title =
    `Of ${count(last.listed + last.closed + last.left, "video")} that were ever listed, ${last.listed} are ` +
    `in the list, ${last.closed} are private or deleted, ${last.left} are no longer in it`;
  return (
    <figure class="plot">
      <svg viewBox="0 0 1000 80" role="img" aria-label={title} preserveAspectRatio="none">
        {[...paths].reverse().map((one) => (
          <path
            key={one.name}
            d={one.path}
            class={PARTS.find(([name]) => name === one.name)?.[1]}
          />
        ))}
      </svg>
      <div class="plot-ends" aria-hidden="true">
        <span>{day(first.at)}</span>
        <span>now</span>
      </div>
      <ul class="legend">
        {PARTS.map(([name, kind, words]) => (
          <li key={name}>
            <svg viewBox="0 0 1 1" aria-hidden="true">
              <rect width="1" height="1" class={kind} />
            </svg>
            {words}
          </li>
        ))}
      </ul>
      <p class="small">What is no longer in a list was taken out of it, or is hidden; it may still be on YouTube.</p>
      <Numbers
        title={title}
        head={["From", ...PARTS.map(([, , words]) => words)]}
        rows={points.map((one) => [moment(one.at), ...PARTS.map(([name]) => one[name])])}
      />
    </figure>
  );
}
