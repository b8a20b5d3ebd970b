/** What a component shows: read over REST, and read again when something happens that may have changed it. */
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import type { Reads } from "./api.ts";
import { Problem, read } from "./client.ts";
import { type News, onNews } from "./live.ts";

export interface Reading<T> {
  data: T | undefined;
  problem: Problem | undefined;
  /** Whether it is being read, for the first time or after a change of what is wanted. */
  loading: boolean;
  reload: () => void;
}

const PAUSE = 1_000; // ms between two readings of the same, at least
const SHARE = 10; // of the time, one part for reading: what takes long in a large archive is read less often
const RETRY = 5_000; // ms after a problem that may pass

type Options<P extends keyof Reads> = {
  path?: Reads[P]["path"];
  query?: Reads[P]["query"];
  topics?: readonly string[];
};

/** Read `path`, and again after news of `topics`. `path` null: nothing. The old data stays until the new is there. */
export function useRead<P extends keyof Reads>(path: P | null, options: Options<P> = {}): Reading<Reads[P]["answer"]> {
  const wanted = JSON.stringify([path, options.path, options.query]);
  return useReading(
    path === null ? null : wanted,
    (signal) => read(path as P, options, signal),
    options.topics,
  );
}

/** As useRead, for any way of reading. `key` names what is read; null: nothing. `again`: milliseconds after which it is
 * read again, for what changes without news. */
export function useReading<T>(
  key: string | null,
  load: (signal: AbortSignal) => Promise<T>,
  topics: readonly string[] = [],
  concerns: (news: News) => boolean = () => true,
  again: (data: T) => number | undefined = () => undefined,
): Reading<T> {
  const [state, setState] = useState<{ key: string | null; data?: T; problem?: Problem }>({ key: null });
  const [round, setRound] = useState(0);
  const latest = useRef(load);
  latest.current = load;
  const relevant = useRef(concerns);
  relevant.current = concerns;
  const interval = useRef(again);
  interval.current = again;
  const taken = useRef(0); // ms of the last reading
  const reload = useCallback(() => setRound((before) => before + 1), []);

  useEffect(() => {
    if (key === null) return;
    const aborter = new AbortController();
    let retry: number | undefined;
    const asked = performance.now();
    latest.current(aborter.signal).then(
      (data) => {
        taken.current = performance.now() - asked;
        setState({ key, data });
        const pause = interval.current(data);
        if (pause !== undefined) retry = setTimeout(reload, pause);
      },
      (error) => {
        if (aborter.signal.aborted) return;
        const problem = error instanceof Problem ? error : new Problem(String(error), 0, "E999", null);
        setState((before) => ({ ...(before.key === key ? before : {}), key, problem }));
        if (problem.passing) retry = setTimeout(reload, RETRY);
      },
    );
    return () => {
      aborter.abort();
      clearTimeout(retry);
    };
  }, [key, round]);

  const subjects = topics.join(",");
  useEffect(() => {
    if (!subjects || key === null) return;
    let waiting: number | undefined;
    let begun = 0;
    const end = onNews(subjects.split(","), (news) => {
      if (waiting !== undefined || (news !== null && !relevant.current(news))) return;
      waiting = setTimeout(() => {
        waiting = undefined;
        begun = performance.now();
        reload();
      }, Math.max(50, begun + Math.max(PAUSE, SHARE * taken.current) - performance.now()));
    });
    return () => {
      clearTimeout(waiting);
      end();
    };
  }, [key, subjects]);

  return { data: state.data, problem: state.problem, loading: key !== null && state.key !== key, reload };
}
