/** `/search?q=`: what was said, written or named; each moment plays where it was found. */
import type { Moment, Reads, SearchHit } from "../data/api.ts";
import { useRead } from "../data/read.ts";
import { clock, count, day } from "../data/units.ts";
import { type Address, useAddress } from "../parts/address.ts";
import { Empty, Heading, Pager, Section, Shown } from "../parts/basics.tsx";
import { Columns } from "../parts/plots.tsx";
import { channelUrl, Thumbnail, watchUrl } from "../parts/videos.tsx";
import { languageName } from "../player/stage.tsx";

const LIMIT = 20;
const PLACES = [
  ["", "everywhere"],
  ["captions", "what is said"],
  ["title", "titles"],
  ["description", "descriptions"],
  ["channel", "channels"],
] as const;
type Query = Reads["/api/v1/storage/search"]["query"];

export function Search() {
  const address = useAddress();
  const q = address.get("q");
  const offset = address.number("offset", 0);
  const filter = {
    q,
    channel: address.get("channel"),
    playlist: address.get("playlist"),
    language: address.get("language"),
    ...(address.get("year") ? { year: address.number("year", 0) } : {}),
    ...(address.get("in") ? { in: address.get("in") as NonNullable<Query["in"]> } : {}),
  };
  const hits = useRead(q ? "/api/v1/storage/search" : null, { query: { ...filter, limit: LIMIT, offset } });
  return (
    <>
      <Heading title={q ? `Search: ${q}` : "Search"} />
      <Form key={q} address={address} />
      {!q && (
        <Empty title="Find a moment">
          <p>
            Words are found in titles, channels, descriptions and in all that is said. <code>"exactly this"</code>,{" "}
            <code>begin*</code>, <code>-without</code>.
          </p>
        </Empty>
      )}
      {q && (
        <Shown of={hits} waiting="Searching…">
          {(page) => (
            <>
              <p class="small" role="status">
                {page.more_than_total
                  ? `More than a thousand texts match; the best ${count(page.total, "video")} of them`
                  : count(page.total, "video")}
              </p>
              {page.hits.length
                ? (
                  <ul class="hits">
                    {page.hits.map((hit) => <Hit key={hit.root + hit.video_id} hit={hit} q={q} />)}
                  </ul>
                )
                : (
                  <Empty title="Nothing is found">
                    <p>
                      Fewer words, or <code>begin*</code>{" "}
                      for any ending, find more. Captions of other languages are searched too.
                    </p>
                  </Empty>
                )}
              <Pager offset={offset} limit={LIMIT} total={page.total} href={(at) => address.with({ offset: at })} />
              {(page.total > 1 || filter.year) && offset === 0 && <Years filter={filter} address={address} />}
            </>
          )}
        </Shown>
      )}
    </>
  );
}

function Form({ address }: { address: Address }) {
  return (
    <form
      class="search-bar"
      onSubmit={(event) => {
        event.preventDefault();
        const form = new FormData(event.currentTarget);
        const value = (name: string) => String(form.get(name) ?? "").trim();
        address.go({ q: value("words"), in: value("in"), language: value("language") });
      }}
    >
      <label class="wide">
        Words
        <input name="words" type="search" defaultValue={address.get("q")} />
      </label>
      <label>
        Where
        <select name="in" value={address.get("in")}>
          {PLACES.map(([value, name]) => <option key={value} value={value}>{name}</option>)}
        </select>
      </label>
      <label>
        Language of captions
        <input name="language" size={6} placeholder="any" defaultValue={address.get("language")} />
      </label>
      {address.get("channel") && (
        <a class="button" href={address.with({ channel: "" })}>Only {address.get("channel")} ✕</a>
      )}
      {address.get("year") && <a class="button" href={address.with({ year: "" })}>Only {address.get("year")} ✕</a>}
      {address.get("playlist") && <a class="button" href={address.with({ playlist: "" })}>Only one playlist ✕</a>}
      <button type="submit" class="primary">Search</button>
    </form>
  );
}

function Hit({ hit, q }: { hit: SearchHit; q: string }) {
  const title = hit.texts.find((text) => text.place === "title");
  const description = hit.texts.find((text) => text.place === "description");
  return (
    <li class="hit">
      <a class="frame" href={watchUrl(hit.video_id)} tabIndex={-1} aria-hidden="true">
        <Thumbnail videoId={hit.video_id} title={hit.title} />
        <span class="length">{clock(hit.duration_seconds)}</span>
      </a>
      <div>
        <a class="row-title" href={watchUrl(hit.video_id)}>
          {title ? <Marked text={title.text} matches={title.matches} /> : hit.title}
        </a>
        <p class="small">
          {hit.channel && <a href={channelUrl(hit)}>{hit.channel}</a>} {day(hit.upload_date)}
        </p>
        {description && (
          <p class="hit-text">
            <Marked text={description.text} matches={description.matches} />
          </p>
        )}
        {hit.moments.length > 0 && (
          <ul class="moments">
            {hit.moments.map((moment, index) => <MomentRow key={index} videoId={hit.video_id} moment={moment} />)}
          </ul>
        )}
        {hit.moments_total > hit.moments.length && (
          <p class="small">
            <a href={`/v/${hit.video_id}?find=${encodeURIComponent(q)}`}>
              {count(hit.moments_total - hit.moments.length, "more moment")} in this video
            </a>
          </p>
        )}
      </div>
    </li>
  );
}

function MomentRow({ videoId, moment }: { videoId: string; moment: Moment }) {
  return (
    <li>
      <a
        href={watchUrl(videoId, moment.start_seconds)}
        hreflang={moment.language}
        title={languageName(moment.language)}
      >
        <span class="line-time">{clock(moment.start_seconds)}</span>
        <span lang={moment.language}>
          <Marked text={moment.text} matches={moment.matches} />
        </span>
      </a>
    </li>
  );
}

/** A text with its matches; `matches` count Unicode characters, as Python does. */
export function Marked({ text, matches }: { text: string; matches: readonly (readonly [number, number])[] }) {
  const signs = [...text];
  const parts: (string | preact.JSX.Element)[] = [];
  let at = 0;
  for (const [from, to] of matches) {
    parts.push(signs.slice(at, from).join(""), <mark key={from}>{signs.slice(from, to).join("")}</mark>);
    at = to;
  }
  return <>{parts}{signs.slice(at).join("")}</>;
}

/** All years in which it is found, also when only one is searched: another one is a click away. */
function Years({ filter: { year: chosen, ...filter }, address }: { filter: Query; address: Address }) {
  const found = useRead("/api/v1/storage/search/years", { query: filter });
  const years = found.data?.years.filter((one) => one.year !== null) ?? [];
  if (years.length < 2) return null;
  const [first, last] = [Number(years[0]?.year), Number(years.at(-1)?.year)];
  const byYear = new Map(years.map((one) => [one.year, one]));
  const columns = Array.from({ length: last - first + 1 }, (_, index) => {
    const year = String(first + index);
    const one = byYear.get(year);
    return {
      label: year,
      value: one ? one.videos / Math.max(one.of, 1) : 0,
      text: one ? `${year}: in ${count(one.videos, "video")} of ${one.of.toLocaleString("en")}` : `${year}: in none`,
      marked: Number(year) === chosen,
      href: address.with({ year }),
    };
  });
  return (
    <Section title="Over the years">
      <Columns
        title={`The share of the videos of each year in which “${filter.q}” is found`}
        columns={columns}
        head={["Year", "Videos"]}
        most={8}
      />
      {found.data?.more && <p class="small">So many texts match that only those that were saved last are counted.</p>}
    </Section>
  );
}
