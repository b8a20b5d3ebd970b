/** Filters of a list as links with their counts, and the ones that are set. */
import type { FacetCount } from "../data/api.ts";
import type { Address } from "./address.ts";

/** A group of choices; the one that is set can be taken back. */
export function Facet({ title, name, counts, address, label = (value) => value, most = 8 }: {
  title: string;
  name: string;
  counts: readonly FacetCount[];
  address: Address;
  label?: (value: string) => string;
  most?: number;
}) {
  const chosen = address.get(name);
  const shown = counts.filter((one) => one.videos > 0 || one.value === chosen);
  if (shown.length < 2 && !chosen) return null;
  const [first, rest] = [shown.slice(0, most), shown.slice(most)];
  const row = (one: FacetCount) => (
    <li key={one.value}>
      <a
        href={address.with({ [name]: one.value === chosen ? "" : one.value })}
        aria-current={one.value === chosen ? "true" : undefined}
      >
        <span class="facet-name">{label(one.value)}</span>
        <span class="facet-count">{one.videos.toLocaleString("en")}</span>
      </a>
    </li>
  );
  return (
    <div class="facet">
      <h2>{title}</h2>
      <ul>{first.map(row)}</ul>
      {rest.length > 0 && (
        <details>
          <summary>{rest.length} more</summary>
          <ul>{rest.map(row)}</ul>
        </details>
      )}
    </div>
  );
}

/** What is filtered by, each with a way to take it back. */
export function Chosen({ address, names }: { address: Address; names: Record<string, (value: string) => string> }) {
  const set = Object.entries(names).filter(([name]) => address.get(name));
  if (!set.length) return null;
  return (
    <ul class="chosen" aria-label="Filters that are set">
      {set.map(([name, label]) => (
        <li key={name}>
          <a href={address.with({ [name]: "" })} aria-label={`Remove the filter ${label(address.get(name))}`}>
            {label(address.get(name))} <span aria-hidden="true">✕</span>
          </a>
        </li>
      ))}
      {set.length > 1 && (
        <li>
          <a href={address.with(Object.fromEntries(set.map(([name]) => [name, ""])))}>Remove all</a>
        </li>
      )}
    </ul>
  );
}
