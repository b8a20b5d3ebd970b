/** Values as people read them. Pure. */

const SIZES = ["B", "KB", "MB", "GB", "TB", "PB"];

/** 1536 → "1.5 KB". Units of 1000, as disks are sold. */
export function bytes(value: number | null | undefined): string {
  if (value === null || value === undefined) return "?";
  let unit = 0;
  let left = Math.abs(value);
  while (left >= 999.5 && unit < SIZES.length - 1) {
    left /= 1000;
    unit += 1;
  }
  const digits = unit === 0 || left >= 99.5 ? 0 : left >= 9.95 ? 1 : 2;
  return `${value < 0 ? "−" : ""}${left.toFixed(digits)} ${SIZES[unit]}`;
}

/** 3725 → "1:02:05", as on a player. */
export function clock(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "–:––";
  const whole = Math.max(0, Math.floor(seconds));
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (part: number) => String(part).padStart(2, "0");
  return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

/** 3725 → "1 h 2 min"; 90061 → "1 d 1 h". */
export function span(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "?";
  const whole = Math.max(0, Math.round(seconds));
  const parts: [number, string][] = [
    [Math.floor(whole / 86400), "d"],
    [Math.floor(whole / 3600) % 24, "h"],
    [Math.floor(whole / 60) % 60, "min"],
    [whole % 60, "s"],
  ];
  const first = parts.findIndex(([count]) => count > 0);
  if (first < 0) return "0 s";
  return parts.slice(first, first + 2).filter(([count]) => count > 0).map(([count, unit]) => `${count} ${unit}`).join(
    " ",
  );
}

/** 1, "video" → "1 video"; 2, "entry", "entries" → "2 entries". */
export function count(number: number, one: string, many: string = `${one}s`): string {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}

/** "20240131" or an ISO date → "31 Jan 2024". */
export function day(value: string | null | undefined): string {
  if (!value) return "";
  const iso = /^\d{8}$/.test(value) ? `${value.slice(0, 4)}-${value.slice(4, 6)}-${value.slice(6)}` : value;
  const date = new Date(iso.length === 10 ? `${iso}T12:00:00` : iso);
  if (Number.isNaN(date.getTime())) return value;
  return date.toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric" });
}

/** A moment as local date and time. */
export function moment(value: string | null | undefined): string {
  const date = new Date(value ?? "");
  if (Number.isNaN(date.getTime())) return "";
  return date.toLocaleString("en-GB", {
    day: "numeric",
    month: "short",
    year: "numeric",
    hour: "2-digit",
    minute: "2-digit",
  });
}

/** How far a moment is from now: "3 min ago", "in 2 h", "now". */
export function fromNow(value: string | null | undefined, now: number = Date.now()): string {
  const then = Date.parse(value ?? "");
  if (Number.isNaN(then)) return "";
  const seconds = Math.round((then - now) / 1000);
  const [size, unit] = scale(Math.abs(seconds));
  if (size === 0) return "now";
  const amount = `${size} ${unit}${size === 1 || unit === "min" || unit === "h" ? "" : "s"}`;
  return seconds < 0 ? `${amount} ago` : `in ${amount}`;
}

function scale(seconds: number): [number, string] {
  if (seconds < 45) return [0, ""];
  if (seconds < 3600) return [Math.max(1, Math.round(seconds / 60)), "min"];
  if (seconds < 86400) return [Math.round(seconds / 3600), "h"];
  if (seconds < 86400 * 45) return [Math.round(seconds / 86400), "day"];
  if (seconds < 86400 * 365) return [Math.round(seconds / (86400 * 30.4)), "month"];
  return [Math.round(seconds / (86400 * 365.25)), "year"];
}

/** The time of day of a moment today, else with its date. */
export function timeOf(value: string, now: Date = new Date()): string {
  const date = new Date(value);
  const time = date.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
  return date.toDateString() === now.toDateString() ? time : `${day(value)}, ${time}`;
}
