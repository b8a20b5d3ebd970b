/** The filters of a page are in the query of its address. */
import { useLocation } from "preact-iso";

export interface Address {
  /** The value of a filter; "" when it is not set. */
  get: (name: string) => string;
  number: (name: string, fallback: number) => number;
  /** The address with other filters; "" removes one. A changed filter begins at the first page. */
  with: (changes: Record<string, string | number>) => string;
  go: (changes: Record<string, string | number>) => void;
}

export function useAddress(): Address {
  const location = useLocation();
  const query = new URLSearchParams(location.url.split("?").slice(1).join("?"));
  const changed = (changes: Record<string, string | number>) => {
    const next = new URLSearchParams(query);
    if (!("offset" in changes)) next.delete("offset");
    for (const [name, value] of Object.entries(changes)) {
      if (value === "" || (name === "offset" && value === 0)) next.delete(name);
      else next.set(name, String(value));
    }
    return next.size ? `${location.path}?${next}` : location.path;
  };
  return {
    get: (name) => query.get(name) ?? "",
    number: (name, fallback) => {
      const value = Number(query.get(name) ?? fallback);
      return Number.isFinite(value) && value >= 0 ? value : fallback;
    },
    with: changed,
    go: (changes) => location.route(changed(changes)),
  };
}
