import type { AvailabilityPoint } from "../data/api.ts";
import { outlines } from "./availability.tsx";

const point = (month: number, listed: number, closed: number, left: number): AvailabilityPoint => ({
  at: new Date(Date.UTC(2026, month - 1)).toISOString(),
  listed,
  closed,
  left,
});

Deno.test("what left a list is drawn apart from what is private or deleted", () => {
  const begin = Date.UTC(2026, 0);
  const half = Date.UTC(2026, 1);
  const found = outlines([point(1, 4, 0, 0), point(2, 2, 1, 1)], half + (half - begin));
  const wanted = [
    { name: "closed", path: "M0 80 L0.0 80.0 H500.0 L500.0 60.0 H1000.0 V80 Z" },
    { name: "left", path: "M0 80 L0.0 80.0 H500.0 L500.0 40.0 H1000.0 V80 Z" },
    { name: "listed", path: "M0 80 L0.0 0.0 H500.0 L500.0 0.0 H1000.0 V80 Z" },
  ];
  if (JSON.stringify(found) !== JSON.stringify(wanted)) throw new Error(JSON.stringify(found));
});
