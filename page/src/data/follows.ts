/** Follows and their rules, in words and as the fields of a form. Pure. */
import type { Follow, FollowVideoState, Rules, RulesTrial, VideoKind } from "./api.ts";
import { count, day, fromNow, span } from "./units.ts";

export const KINDS: readonly (readonly [VideoKind, string])[] = [
  ["video", "Videos"],
  ["short", "Shorts"],
  ["stream", "Streams"],
  ["premiere", "Premieres"],
];

/** The states of what was found: in words, and the kind of their tag. */
export const FOUND: Record<FollowVideoState, [string, string]> = {
  found: ["the look is not over", ""],
  taken: ["wanted", "live"],
  left_out: ["left out", "warn"],
  before: ["older", ""],
};

export function nameOf(follow: { title?: string | null; target: string }): string {
  return follow.title || follow.target;
}

/** When a follow is looked at next, and the kind of its tag. */
export function stateOf(follow: Follow, now: number = Date.now()): [string, string] {
  if (follow.looking) return ["looking now", "live"];
  if (follow.paused) return ["paused", "warn"];
  const due = !follow.next_look || Date.parse(follow.next_look) <= now;
  return [due ? "next look is due" : `next look ${fromNow(follow.next_look, now)}`, ""];
}

/** How often it is looked at, and why. */
export function intervalOf(follow: Follow): string {
  if (follow.interval_seconds == null) return "not known before the first look";
  const why = follow.every_seconds != null ? "as you chose" : "by the channel's own rhythm";
  const longer = follow.stretched ? ", and longer because there are many follows" : "";
  return `every ${span(follow.interval_seconds)}, ${why}${longer}`;
}

/** The pages of the archive about what is followed. */
export function placesOf(follow: Follow): { name: string; path: string }[] {
  const list = /(?:[?&]list=|^)((?:PL|UU|OL|FL|RD)[\w-]{10,})/.exec(follow.target)?.[1];
  return [
    ...(list ? [{ name: "its playlist", path: `/p/${encodeURIComponent(list)}` }] : []),
    ...(follow.channel_id ? [{ name: "its channel", path: `/c/${encodeURIComponent(follow.channel_id)}` }] : []),
  ];
}

/** The follow that a job fetches for. */
export function followOfJob(jobId: string): string | null {
  return /^follow-([0-9a-f]{12})-/.exec(jobId)?.[1] ?? null;
}

// --- rules --------------------------------------------------------------------------------------------------------

const LENGTH = /^(?:(\d+)\s*h)?\s*(?:(\d+)\s*m(?:in)?)?\s*(?:(\d+)\s*s?)?$/i;

/** The seconds of `90`, `90s`, `2m`, `1h30m`, as the command line reads them. Raise Error. */
export function secondsIn(text: string): number {
  const [, hours, minutes, seconds] = LENGTH.exec(text.trim()) ?? [];
  if (hours === undefined && minutes === undefined && seconds === undefined) {
    throw new Error(`${text} is no length: write 90s, 2m or 1h30m.`);
  }
  return Number(hours ?? 0) * 3600 + Number(minutes ?? 0) * 60 + Number(seconds ?? 0);
}

/** 5400 → "1h30m", which secondsIn reads. */
export function lengthText(seconds: number | null | undefined): string {
  if (seconds == null) return "";
  const whole = Math.round(seconds);
  const parts = [[Math.floor(whole / 3600), "h"], [Math.floor(whole / 60) % 60, "m"], [whole % 60, "s"]] as const;
  return parts.filter(([size]) => size > 0).map(([size, unit]) => `${size}${unit}`).join("") || "0s";
}

/** The rules in the fields of a form, each a text; `kinds` are the ones that are ticked. Raise Error. */
export function rulesIn(value: (name: string) => string, kinds: readonly string[]): Rules {
  const rules: Rules = {};
  const known = KINDS.map(([kind]) => kind).filter((kind) => kinds.includes(kind));
  if (known.length > 0 && known.length < KINDS.length) rules.kinds = known;
  for (
    const name of ["title_include", "title_exclude", "description_include", "description_exclude", "since"] as const
  ) {
    if (value(name)) rules[name] = value(name);
  }
  for (const name of ["min_length", "max_length"] as const) if (value(name)) rules[name] = secondsIn(value(name));
  for (const name of ["min_views", "max_views"] as const) {
    if (!value(name)) continue;
    if (!/^\d+$/.test(value(name))) throw new Error(`${value(name)} is no number of views.`);
    rules[name] = Number(value(name));
  }
  const members = value("members_only");
  if (members === "exclude" || members === "only") rules.members_only = members;
  const languages = value("languages").split(/[\s,]+/).filter(Boolean);
  if (languages.length) rules.languages = languages;
  return rules;
}

/** The rules of a follow, of which options tell only that they are an object. */
export function rulesOf(follow: Follow): Rules {
  return (follow.options.rules ?? {}) as Rules;
}

/** The rules in words, one sentence each; none: all videos are wanted. */
export function rulesInWords(rules: Rules): string[] {
  const kinds = KINDS.filter(([kind]) => rules.kinds?.includes(kind)).map(([, name]) => name.toLowerCase());
  const lengths = between(rules.min_length, rules.max_length, span);
  const views = between(rules.min_views, rules.max_views, (value) => count(value, "time"));
  return [
    kinds.length > 0 && `only ${kinds.join(", ")}`,
    rules.title_include && `the title matches ${quoted(rules.title_include)}`,
    rules.title_exclude && `the title does not match ${quoted(rules.title_exclude)}`,
    rules.description_include && `the description matches ${quoted(rules.description_include)}`,
    rules.description_exclude && `the description does not match ${quoted(rules.description_exclude)}`,
    lengths && `it is ${lengths} long`,
    rules.since && `published on ${day(rules.since)} or later`,
    views && `seen ${views} when it is found`,
    rules.members_only === "exclude" && "not for members of the channel only",
    rules.members_only === "only" && "for members of the channel only",
    rules.languages?.length && `its language is ${rules.languages.join(" or ")}`,
  ].filter((text): text is string => Boolean(text));
}

function between(
  low: number | null | undefined,
  high: number | null | undefined,
  shown: (value: number) => string,
): string {
  if (low != null && high != null) return `${shown(low)} to ${shown(high)}`;
  if (low != null) return `${shown(low)} or more`;
  return high != null ? `${shown(high)} or less` : "";
}

function quoted(text: string): string {
  return `“${text}”`;
}

/** How many of the newest videos rules would take, leave out, and cannot decide yet. */
export function sumOf(trial: RulesTrial): { wanted: number; leftOut: number; open: number } {
  const number = (taken: boolean | null) => trial.videos.filter((one) => (one.taken ?? null) === taken).length;
  return { wanted: number(true), leftOut: number(false), open: number(null) };
}

/** What rules would do, as one sentence. */
export function trialSentence(trial: RulesTrial): string {
  const { wanted, leftOut, open } = sumOf(trial);
  const later = open ? `, ${open} decided when the video is fetched` : "";
  const shown = trial.videos.length === 1 ? "one video" : `${trial.videos.length} videos`;
  return `Of the newest ${shown}, ${wanted} wanted, ${leftOut} left out${later}.`;
}
