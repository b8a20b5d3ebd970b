import { bytes, clock, count, day, fromNow, span } from "./units.ts";

const equal = (found: string, wanted: string) => {
  if (found !== wanted) throw new Error(`${found} instead of ${wanted}`);
};

Deno.test("bytes have three digits at most", () => {
  equal(bytes(0), "0 B");
  equal(bytes(999), "999 B");
  equal(bytes(1000), "1.00 KB");
  equal(bytes(12_345), "12.3 KB");
  equal(bytes(999_600), "1.00 MB");
  equal(bytes(3.1e12), "3.10 TB");
  equal(bytes(null), "?");
});

Deno.test("a clock has hours only where there are some", () => {
  equal(clock(0), "0:00");
  equal(clock(61.9), "1:01");
  equal(clock(3725), "1:02:05");
  equal(clock(null), "–:––");
});

Deno.test("a span has its two largest units", () => {
  equal(span(0), "0 s");
  equal(span(59.6), "1 min");
  equal(span(3725), "1 h 2 min");
  equal(span(90_061), "1 d 1 h");
  equal(span(86_400), "1 d");
});

Deno.test("moments are told from now", () => {
  const now = Date.parse("2026-11-30T12:00:00Z");
  equal(fromNow("2026-11-30T12:00:20Z", now), "now");
  equal(fromNow("2026-11-30T11:57:00Z", now), "3 min ago");
  equal(fromNow("2026-11-30T14:00:00Z", now), "in 2 h");
  equal(fromNow("2026-11-29T12:00:00Z", now), "1 day ago");
  equal(fromNow("2016-11-30T12:00:00Z", now), "10 years ago");
  equal(fromNow("", now), "");
});

Deno.test("days and numbers", () => {
  equal(day("20240131"), "31 Jan 2024");
  equal(day("2024-01-31"), "31 Jan 2024");
  equal(day(null), "");
  equal(count(1, "video"), "1 video");
  equal(count(2000, "entry", "entries"), "2,000 entries");
});
