/** What is said, beside the player: it follows, can be searched, and jumps. */
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { useRead } from "../data/read.ts";
import { clock, count } from "../data/units.ts";
import { Shown } from "../parts/basics.tsx";
import { indexAt, pieces } from "./cues.ts";
import { languageName } from "./stage.tsx";
import { jump, position } from "./state.ts";

export function TranscriptPane({ videoId, languages, find }: {
  videoId: string;
  languages: readonly string[];
  /** What to search for at first. */
  find: string;
}) {
  const [chosen, choose] = useState(languages[0] ?? "");
  const [words, search] = useState(find);
  const [follows, follow] = useState(true);
  const language = languages.includes(chosen) ? chosen : languages[0] ?? "";
  const transcript = useRead("/api/v1/storage/videos/{video_id}/captions/{language}", {
    path: { video_id: videoId, language },
  });
  return (
    <section class="transcript" aria-label="Transcript">
      <div class="transcript-bar">
        <input
          type="search"
          aria-label="Search in what is said"
          placeholder="Search in what is said…"
          value={words}
          onInput={(event) => search(event.currentTarget.value)}
        />
        {languages.length > 1 && (
          <select
            aria-label="Language"
            value={language}
            onChange={(event) => choose(event.currentTarget.value)}
          >
            {languages.map((one) => <option key={one} value={one}>{languageName(one)}</option>)}
          </select>
        )}
        <label class="check">
          <input type="checkbox" checked={follows} onChange={(event) => follow(event.currentTarget.checked)} /> Follow
        </label>
      </div>
      <Shown of={transcript}>
        {({ lines }) => <Lines key={language} lines={lines} words={words} follows={follows && !words} />}
      </Shown>
    </section>
  );
}

function Lines({ lines, words, follows }: {
  lines: readonly { start_seconds: number; text: string }[];
  words: string;
  follows: boolean;
}) {
  const list = useRef<HTMLOListElement>(null);
  const starts = useMemo(() => lines.map((line) => line.start_seconds), [lines]);
  const current = indexAt(starts, position.value + 0.05);
  const wanted = words.trim().toLowerCase();
  const shown = lines.map((line, index) => ({ line, index })).filter(({ line }) =>
    !wanted || line.text.toLowerCase().includes(wanted)
  );
  useEffect(() => {
    const row = list.current?.querySelector<HTMLElement>("[aria-current]");
    if (!follows || !row || !list.current) return;
    list.current.scrollTop = row.offsetTop - list.current.clientHeight / 3;
  }, [current, follows]);
  return (
    <>
      {wanted && <p class="small" role="status">{count(shown.length, "line")}</p>}
      <ol class="lines" ref={list} tabIndex={0} aria-label="Lines">
        {shown.map(({ line, index }) => (
          <li key={index}>
            <button
              type="button"
              class="line"
              aria-current={index === current ? "true" : undefined}
              onClick={() => jump(line.start_seconds)}
            >
              <span class="line-time">{clock(line.start_seconds)}</span>
              <span>
                {pieces(line.text, words).map(([text, match], at) => match ? <mark key={at}>{text}</mark> : text)}
              </span>
            </button>
          </li>
        ))}
      </ol>
    </>
  );
}
