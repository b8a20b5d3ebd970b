import type { Follow } from "./api.ts";
import {
  followOfJob,
  intervalOf,
  lengthText,
  nameOf,
  placesOf,
  rulesIn,
  rulesInWords,
  secondsIn,
  stateOf,
  trialSentence,
} from "./follows.ts";

function equal(found: unknown, expected: unknown) {
  if (JSON.stringify(found) !== JSON.stringify(expected)) {
    throw new Error(`${JSON.stringify(found)} is not ${JSON.stringify(expected)}`);
  }
}

const NOW = Date.parse("2026-05-20T12:00:00Z");

function follow(values: Partial<Follow> = {}): Follow {
  return {
    follow_id: "0123456789ab",
    target: "@Lectures",
    type: "playlist_download",
    options: {},
    root: "/archive",
    created_at: "2026-05-01T12:00:00Z",
    ...values,
  };
}

Deno.test("a follow has the name of its channel once that is known", () => {
  equal(nameOf(follow()), "@Lectures");
  equal(nameOf(follow({ title: "Lectures" })), "Lectures");
});

Deno.test("the state says when the next look is, or why there is none", () => {
  const in20 = "2026-05-20T12:20:00Z";
  equal(stateOf(follow({ next_look: in20 }), NOW), ["next look in 20 min", ""]);
  equal(stateOf(follow({ next_look: "2026-05-20T11:00:00Z" }), NOW), ["next look is due", ""]);
  equal(stateOf(follow({ paused: true, next_look: in20 }), NOW), ["paused", "warn"]);
  equal(stateOf(follow({ paused: true, looking: true }), NOW), ["looking now", "live"]);
});

Deno.test("the interval says whose it is, and whether it is stretched", () => {
  equal(intervalOf(follow()), "not known before the first look");
  equal(intervalOf(follow({ interval_seconds: 5400 })), "every 1 h 30 min, by the channel's own rhythm");
  equal(
    intervalOf(follow({ interval_seconds: 7200, every_seconds: 3600, stretched: true })),
    "every 2 h, as you chose, and longer because there are many follows",
  );
});

Deno.test("a follow leads to its playlist and its channel", () => {
  equal(placesOf(follow()), []);
  equal(placesOf(follow({ channel_id: "UCx" })), [{ name: "its channel", path: "/c/UCx" }]);
  const list = { name: "its playlist", path: "/p/PL0123456789abc" };
  equal(placesOf(follow({ target: "https://www.youtube.com/playlist?list=PL0123456789abc" })), [list]);
  equal(placesOf(follow({ target: "PL0123456789abc" })), [list]);
});

Deno.test("the job of a look tells its follow", () => {
  equal(followOfJob("follow-0123456789ab-692cfa10-12"), "0123456789ab");
  equal(followOfJob("follow-me"), null);
});

Deno.test("lengths are written as on the command line", () => {
  for (const [text, seconds] of [["90", 90], ["90s", 90], ["2m", 120], ["1h30m", 5400], [" 1 H 2 min 3 ", 3723]]) {
    equal(secondsIn(String(text)), seconds);
  }
  for (const seconds of [0, 45, 120, 5400, 3723]) equal(secondsIn(lengthText(seconds)), seconds);
  for (const text of ["", "soon", "1d", "-5"]) {
    let refused = false;
    try {
      secondsIn(text);
    } catch {
      refused = true;
    }
    equal([text, refused], [text, true]);
  }
});

Deno.test("a form becomes rules, and rules become words", () => {
  const fields: Record<string, string> = {
    title_exclude: "trailer|teaser",
    min_length: "2m",
    max_length: "1h30m",
    since: "2024-01-31",
    min_views: "1000",
    members_only: "exclude",
    languages: "en, pt-BR",
  };
  const rules = rulesIn((name) => fields[name] ?? "", ["premiere", "video"]);
  equal(rules, {
    kinds: ["video", "premiere"],
    title_exclude: "trailer|teaser",
    since: "2024-01-31",
    min_length: 120,
    max_length: 5400,
    min_views: 1000,
    members_only: "exclude",
    languages: ["en", "pt-BR"],
  });
  equal(rulesInWords(rules), [
    "only videos, premieres",
    "the title does not match “trailer|teaser”",
    "it is 2 min to 1 h 30 min long",
    "published on 31 Jan 2024 or later",
    "seen 1,000 times or more when it is found",
    "not for members of the channel only",
    "its language is en or pt-BR",
  ]);
});

Deno.test("no kind and all kinds are no rule", () => {
  equal(rulesIn(() => "", []), {});
  equal(rulesIn(() => "", ["video", "short", "stream", "premiere", "nonsense"]), {});
  equal(rulesInWords({}), []);
});

Deno.test("a trial is summed up", () => {
  const video = (taken: boolean | null) => ({ video_id: "x", taken });
  equal(
    trialSentence({ videos: [video(true), video(true), video(false), video(null)] }),
    "Of the newest 4 videos, 2 wanted, 1 left out, 1 decided when the video is fetched.",
  );
  equal(trialSentence({ videos: [{ video_id: "x", taken: true }] }), "Of the newest one video, 1 wanted, 0 left out.");
});
