/** The keys of the player, which are those of YouTube. Pure. */

export type Action =
  | { do: "toggle" | "fullscreen" | "mute" | "captions" | "picture" }
  | { do: "seek"; by: number }
  | { do: "part"; of: number }
  | { do: "speed"; by: number }
  | { do: "frame"; by: number };

const SIMPLE: Record<string, Action> = {
  " ": { do: "toggle" },
  k: { do: "toggle" },
  j: { do: "seek", by: -10 },
  l: { do: "seek", by: 10 },
  ArrowLeft: { do: "seek", by: -5 },
  ArrowRight: { do: "seek", by: 5 },
  f: { do: "fullscreen" },
  m: { do: "mute" },
  c: { do: "captions" },
  i: { do: "picture" },
  "<": { do: "speed", by: -1 },
  ">": { do: "speed", by: 1 },
  ",": { do: "frame", by: -1 },
  ".": { do: "frame", by: 1 },
};
const SPEEDS = [0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2, 2.5, 3];

/** Return what a key does, or undefined. */
export function actionOf(key: string): Action | undefined {
  if (/^[0-9]$/.test(key)) return { do: "part", of: Number(key) / 10 };
  return SIMPLE[key];
}

/** The next speed in a direction. */
export function speedAfter(speed: number, by: number): number {
  const next = by > 0 ? SPEEDS.find((one) => one > speed) : SPEEDS.findLast((one) => one < speed);
  return next ?? speed;
}
