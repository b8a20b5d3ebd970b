/** When somebody was here the last time. It stays the same as long as the tab is open. */

const SEEN = "ytarchive.seen";
const SINCE = "ytarchive.since";

/** The end of the last visit as an ISO time; "" for the first one, or where nothing can be stored. */
export function lastVisit(now: Date = new Date()): string {
  try {
    const known = sessionStorage.getItem(SINCE);
    const since = known ?? localStorage.getItem(SEEN) ?? "";
    if (known === null) sessionStorage.setItem(SINCE, since);
    localStorage.setItem(SEEN, now.toISOString());
    return since;
  } catch {
    return "";
  }
}
