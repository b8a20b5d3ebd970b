/** Pages are fetched when they are first shown. After an update of YTArchive their files have other names: then the whole
 * page is loaded again, once. */
import { signal } from "@preact/signals";
import type { ComponentType } from "preact";
import { lazy, useLocation } from "preact-iso";
import { useEffect } from "preact/hooks";

const KEY = "loaded-again-at";
const ONCE_PER = 30_000; // ms
const problem = signal("");

// deno-lint-ignore no-explicit-any -- pages have different parameters, which the router fills
export function onDemand(load: () => Promise<ComponentType<any>>): ComponentType<any> {
  return lazy(() =>
    load().catch((error) => {
      const last = Number(sessionStorage.getItem(KEY) ?? 0);
      if (Date.now() - last > ONCE_PER) {
        sessionStorage.setItem(KEY, String(Date.now()));
        location.reload();
        return new Promise<never>(() => {}); // this page is about to go
      }
      throw error;
    })
  );
}

/** Show that a page could not be shown, instead of nothing. */
export function failed(error: Error): void {
  problem.value = error.message || String(error);
}

export function Oops() {
  const { path } = useLocation();
  useEffect(() => {
    problem.value = "";
  }, [path]);
  return problem.value
    ? (
      <div class="notice bad" role="alert">
        <p>This page cannot be shown: {problem.value}</p>
        <button type="button" onClick={() => location.reload()}>Load it again</button>
      </div>
    )
    : null;
}
