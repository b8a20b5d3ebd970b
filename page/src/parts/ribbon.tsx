/** The life of a video in one line: listed, held, gone from YouTube. */
import type { TimelineEvent } from "../data/api.ts";
import { day, moment } from "../data/units.ts";
import { Numbers } from "./plots.tsx";

export interface Stretch {
  from: number;
  to: number;
  held: boolean;
  gone: boolean;
}

/** What a list no longer has may still be there: `vanished` is not among them. */
const GOES = new Set(["private", "deleted", "found_gone"]);
const HOLDS = new Set(["archived", "resolved"]);

/** What was true from when to when, oldest first, from events that are newest first. Pure. */
export function stretchesOf(events: readonly TimelineEvent[], now: number): Stretch[] {
  const found: Stretch[] = [];
  let state = { held: false, gone: false };
  for (const event of [...events].reverse()) {
    const at = Date.parse(event.at);
    const next = {
      held: state.held || HOLDS.has(event.change),
      gone: GOES.has(event.change) || (state.gone && event.change !== "came_back"),
    };
    const last = found.at(-1);
    if (last && next.held === state.held && next.gone === state.gone) continue;
    if (last) last.to = at;
    found.push({ from: at, to: now, ...next });
    state = next;
  }
  return found.filter((one) => one.to > one.from);
}

const words = (one: Stretch) =>
  one.gone
    ? (one.held ? "gone from YouTube, held here" : "gone from YouTube, not held")
    : one.held
    ? "on YouTube, held here"
    : "on YouTube, not held yet";
const kind = (one: Stretch) => one.gone ? (one.held ? "saved" : "lost") : one.held ? "held" : "listed";

export function Ribbon({ events }: { events: readonly TimelineEvent[] }) {
  const now = Date.now();
  const stretches = stretchesOf(events, now);
  const [first] = stretches;
  if (!first) return null;
  const whole = Math.max(now - first.from, 1);
  const end = stretches.at(-1) as Stretch;
  return (
    <figure class="plot">
      <svg viewBox="0 0 1000 20" aria-hidden="true" preserveAspectRatio="none" class="ribbon">
        {stretches.map((one) => (
          <rect
            key={one.from}
            x={((one.from - first.from) / whole) * 1000}
            width={Math.max(((one.to - one.from) / whole) * 1000, 2)}
            height="20"
            class={`life-${kind(one)}`}
          >
            <title>{words(one)}</title>
          </rect>
        ))}
      </svg>
      <figcaption class="small">Since {day(new Date(first.from).toISOString())}. Now: {words(end)}.</figcaption>
      <Numbers
        title="What was true of this video, and from when"
        head={["From", "What"]}
        rows={stretches.map((one) => [moment(new Date(one.from).toISOString()), words(one)])}
      />
    </figure>
  );
}
