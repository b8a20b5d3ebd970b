/** `/library`: everything that is held. Filters, order and place are in the address. */
import { useEffect, useRef, useState } from "preact/hooks";
import type { Reads, VideoRow } from "../data/api.ts";
import { useRead } from "../data/read.ts";
import { bytes, clock, count, day } from "../data/units.ts";
import { type Address, useAddress } from "../parts/address.ts";
import { Choices, Empty, Heading, Pager, Shown, Table, When } from "../parts/basics.tsx";
import { Chosen, Facet } from "../parts/filters.tsx";
import { Cards, channelUrl, Thumbnail, VideoCard, watchUrl } from "../parts/videos.tsx";
import { languageName } from "../player/stage.tsx";

const LIMIT = 60;
const COUNTED = ["video", "work_plan"] as const; // news that change what is held, and what is gone
const VIEWS = [["", "Grid"], ["list", "List"], ["table", "Table"]] as const;
const SORTS = [
  ["", "Saved last"],
  ["-upload_date", "Newest"],
  ["upload_date", "Oldest"],
  ["title", "Title"],
  ["-duration", "Longest"],
  ["duration", "Shortest"],
  ["-bytes", "Largest"],
] as const;
const PLACES = [["/library", "Videos"], ["/library?show=channels", "Channels"], [
  "/library?show=playlists",
  "Playlists",
]] as const;
const LENGTHS: Record<string, [string, { min_length?: number; max_length?: number }]> = {
  short: ["Under 4 minutes", { max_length: 240 }],
  medium: ["4 to 20 minutes", { min_length: 240, max_length: 1200 }],
  long: ["Over 20 minutes", { min_length: 1200 }],
};

type VideoQuery = Reads["/api/v1/storage/videos"]["query"];

/** What the address of a list of videos asks of the archive. */
export function filtersOf(address: Address): VideoQuery {
  return {
    q: address.get("q"),
    channel: address.get("channel"),
    playlist: address.get("playlist"),
    quality: address.get("quality"),
    captions: address.get("captions"),
    ...(address.get("year") ? { year: Number(address.get("year")) } : {}),
    ...(address.get("status") ? { status: address.get("status") as NonNullable<VideoQuery["status"]> } : {}),
    ...(address.get("watched") ? { watched: address.get("watched") === "yes" } : {}),
    ...(address.get("better") ? { below_wanted: true } : {}),
    ...(LENGTHS[address.get("length")]?.[1] ?? {}),
  };
}

const FILTERS: Record<string, (value: string) => string> = {
  q: (value) => `“${value}”`,
  channel: (value) => value,
  playlist: (value) => value,
  year: (value) => `made in ${value}`,
  length: (value) => LENGTHS[value]?.[0] ?? value,
  quality: (value) => value,
  captions: captionsLabel,
  status: (value) =>
    ({ gone: "no longer on YouTube", complete: "complete", incomplete: "something is missing" })[value] ?? value,
  watched: (value) => value === "yes" ? "watched" : "not watched",
  better: () => "may get better",
};

function captionsLabel(value: string): string {
  return value === "none" ? "without captions" : `captions in ${languageName(value)}`;
}

export function Library() {
  const address = useAddress();
  const show = address.get("show");
  return (
    <>
      <Heading title="Library" />
      <Choices
        label="What to show"
        options={PLACES}
        chosen={show ? `/library?show=${show}` : "/library"}
        href={(value) => value}
      />
      {show === "channels"
        ? <Channels address={address} />
        : show === "playlists"
        ? <Playlists address={address} />
        : <Videos address={address} />}
    </>
  );
}

function Videos({ address }: { address: Address }) {
  const sort = address.get("sort");
  const offset = address.number("offset", 0);
  const filters = filtersOf(address);
  const wanted = {
    ...filters,
    limit: LIMIT,
    offset,
    ...(sort ? { sort: sort as NonNullable<VideoQuery["sort"]> } : {}),
  };
  const videos = useRead("/api/v1/storage/videos", { query: wanted });
  const newest = useRead("/api/v1/storage/videos", { query: { ...filters, limit: 1 }, topics: ["video"] });
  const facets = useRead("/api/v1/storage/facets", { query: filters, topics: COUNTED });
  const added = videos.data && newest.data && !videos.loading ? newest.data.total - videos.data.total : 0;
  return (
    <div class="library">
      <aside class="facets" aria-label="Filters">
        <form
          class="facet-search"
          onSubmit={(event) => {
            event.preventDefault();
            address.go({ q: String(new FormData(event.currentTarget).get("words") ?? "").trim() });
          }}
        >
          <input
            key={address.get("q")}
            name="words"
            type="search"
            aria-label="Words of a title or a channel"
            placeholder="Title or channel…"
            defaultValue={address.get("q")}
          />
        </form>
        <details open={globalThis.innerWidth > 800}>
          <summary class="facets-title">Filters</summary>
          {facets.data && (
            <>
              <Facet title="Channel" name="channel" counts={facets.data.channels} address={address} />
              <Facet title="Year" name="year" counts={facets.data.years} address={address} />
              <Facet
                title="Length"
                name="length"
                counts={facets.data.lengths}
                address={address}
                label={(value) => LENGTHS[value]?.[0] ?? value}
              />
              <Facet title="Quality" name="quality" counts={facets.data.qualities} address={address} />
              <Facet
                title="Captions"
                name="captions"
                counts={facets.data.captions}
                address={address}
                label={(value) => value === "none" ? "none" : languageName(value)}
              />
              <div class="facet">
                <h2>Watched</h2>
                <ul>
                  {[["no", "not yet"], ["yes", "to its end"]].map(([value, name]) => (
                    <li key={value}>
                      <a
                        href={address.with({ watched: address.get("watched") === value ? "" : value as string })}
                        aria-current={address.get("watched") === value ? "true" : undefined}
                      >
                        {name}
                      </a>
                    </li>
                  ))}
                </ul>
              </div>
              <Facet
                title="On YouTube"
                name="status"
                counts={[{ value: "gone", videos: facets.data.gone }, {
                  value: "",
                  videos: facets.data.total - facets.data.gone,
                }].filter((one) => one.value)}
                address={address}
                label={() => "no longer there"}
              />
            </>
          )}
        </details>
      </aside>
      <div class="library-main">
        <div class="library-bar">
          <Choices
            label="View"
            options={VIEWS}
            chosen={address.get("view")}
            href={(view) => address.with({ view, offset })}
          />
          <label class="speed">
            Order
            <select value={sort} onChange={(event) => address.go({ sort: event.currentTarget.value })}>
              {SORTS.map(([value, name]) => <option key={value} value={value}>{name}</option>)}
            </select>
          </label>
          <p class="small" role="status">{videos.data && count(videos.data.total, "video")}</p>
        </div>
        <Chosen address={address} names={FILTERS} />
        {added > 0 && (
          <p>
            <button type="button" onClick={videos.reload}>{count(added, "new video")}: show</button>
          </p>
        )}
        <Shown of={videos} waiting="Reading the library…">
          {(page) =>
            page.videos.length
              ? (
                <>
                  <Listing videos={page.videos} view={address.get("view")} />
                  <Pager offset={offset} limit={LIMIT} total={page.total} href={(at) => address.with({ offset: at })} />
                </>
              )
              : page.total
              ? (
                <Empty title="The list ends before this page">
                  <p>
                    <a href={address.with({})}>To its beginning</a>
                  </p>
                </Empty>
              )
              : <Nothing address={address} />}
        </Shown>
      </div>
      {["", "-upload_date"].includes(sort) && (
        <Months address={address} by={sort ? "upload_date" : "archived_at"} first={videos.data?.videos[0]} />
      )}
    </div>
  );
}

function Nothing({ address }: { address: Address }) {
  const filtered = Object.keys(FILTERS).some((name) => address.get(name));
  return filtered
    ? (
      <Empty title="Nothing is held that fits all of these filters">
        <p>
          <a href="/library">Show everything</a>
        </p>
      </Empty>
    )
    : (
      <Empty title="Nothing is saved yet">
        <p>
          <a href="/add">Add a video, a playlist or a channel.</a>
        </p>
      </Empty>
    );
}

function Listing({ videos, view }: { videos: readonly VideoRow[]; view: string }) {
  if (view === "table") {
    return (
      <Table caption="Videos" head={["Title", "Channel", "Made", "Length", "Size", "Quality", "Saved"]}>
        {videos.map((video) => (
          <tr key={video.root + video.video_id}>
            <th scope="row">
              <a href={watchUrl(video.video_id)}>{video.title}</a>
            </th>
            <td>{video.channel && <a href={channelUrl(video)}>{video.channel}</a>}</td>
            <td class="number">{day(video.upload_date)}</td>
            <td class="number">{clock(video.duration_seconds)}</td>
            <td class="number">{bytes(video.bytes)}</td>
            <td>{video.qualities.join(", ")}</td>
            <td class="number">
              <When at={video.archived_at} />
            </td>
          </tr>
        ))}
      </Table>
    );
  }
  if (view === "list") {
    return (
      <ul class="plain rows">
        {videos.map((video) => (
          <li class="row" key={video.root + video.video_id}>
            <a href={watchUrl(video.video_id)} class="row-thumb" tabIndex={-1} aria-hidden="true">
              <Thumbnail videoId={video.video_id} title={video.title} />
            </a>
            <div>
              <a class="row-title" href={watchUrl(video.video_id)}>{video.title}</a>
              <p class="small">
                {video.channel && <a href={channelUrl(video)}>{video.channel}</a>}{" "}
                {[day(video.upload_date), clock(video.duration_seconds), bytes(video.bytes), video.qualities[0]].filter(
                  Boolean,
                ).join(" · ")}
              </p>
            </div>
          </li>
        ))}
      </ul>
    );
  }
  return <Cards>{videos.map((video) => <VideoCard key={video.root + video.video_id} video={video} />)}</Cards>;
}

/** The months of the list: where one is, and where else one can be. Places come from the archive. `first`: the video that
 * the list begins with now; the months may be newer than the list. */
function Months({ address, by, first }: {
  address: Address;
  by: "archived_at" | "upload_date";
  first: VideoRow | undefined;
}) {
  const months = useRead("/api/v1/storage/buckets", { query: { ...filtersOf(address), by }, topics: COUNTED });
  const list = useRef<HTMLElement>(null);
  const buckets = months.data?.buckets ?? [];
  const current = first ? buckets.findIndex((bucket) => bucket.month === (first[by]?.slice(0, 7) ?? null)) : -1;
  useEffect(() => {
    const row = list.current?.querySelector<HTMLElement>("[aria-current]");
    if (row && list.current) list.current.scrollTop = row.offsetTop - list.current.clientHeight / 2;
  }, [current]);
  if (buckets.length < 2) return null;
  const most = Math.max(...buckets.map((bucket) => bucket.videos));
  return (
    <nav
      class="months"
      aria-label={by === "upload_date" ? "By month, when it was made" : "By month, when it was saved"}
      ref={list}
    >
      <ul>
        {buckets.map((bucket, index) => (
          <li key={bucket.month ?? "none"}>
            <a
              href={address.with({ offset: bucket.offset })}
              aria-current={index === current ? "true" : undefined}
            >
              <span>{monthName(bucket.month)}</span>
              <progress max={most} value={bucket.videos} aria-label={count(bucket.videos, "video")} />
            </a>
          </li>
        ))}
      </ul>
    </nav>
  );
}

function monthName(month: string | null): string {
  if (month === null) return "no date";
  const date = new Date(`${month}-15T12:00:00`);
  return Number.isNaN(date.getTime()) ? month : date.toLocaleDateString("en-GB", { month: "short", year: "numeric" });
}

function Channels({ address }: { address: Address }) {
  const [limit, offset, sort] = [50, address.number("offset", 0), address.get("sort") || "-videos"];
  const channels = useRead("/api/v1/storage/channels", {
    query: { limit, offset, q: address.get("q"), sort: sort as "-videos" },
    topics: ["video"],
  });
  return (
    <>
      <Finder address={address} label="A channel" />
      <Shown of={channels}>
        {(page) =>
          page.channels.length
            ? (
              <>
                <Table
                  caption="Channels"
                  head={[
                    <Order key="t" address={address} by="title">Channel</Order>,
                    <Order key="v" address={address} by="-videos">Videos</Order>,
                    <Order key="b" address={address} by="-bytes">Size</Order>,
                    <Order key="n" address={address} by="-newest">Newest video</Order>,
                  ]}
                >
                  {page.channels.map((one) => (
                    <tr key={one.channel}>
                      <th scope="row">
                        <a href={channelUrl(one)}>{one.channel}</a>
                      </th>
                      <td class="number">{one.videos.toLocaleString("en")}</td>
                      <td class="number">{bytes(one.bytes)}</td>
                      <td class="number">{day(one.newest)}</td>
                    </tr>
                  ))}
                </Table>
                <Pager offset={offset} limit={limit} total={page.total} href={(at) => address.with({ offset: at })} />
              </>
            )
            : <Empty title="No such channel is held" />}
      </Shown>
    </>
  );
}

function Order({ address, by, children }: { address: Address; by: string; children: string }) {
  const chosen = (address.get("sort") || "-videos") === by;
  return <a href={address.with({ sort: by })} aria-current={chosen ? "true" : undefined}>{children}</a>;
}

function Playlists({ address }: { address: Address }) {
  const [limit, offset] = [50, address.number("offset", 0)];
  const playlists = useRead("/api/v1/storage/playlists", {
    query: { limit, offset, q: address.get("q") },
    topics: ["listing", "playlist", ...COUNTED],
  });
  return (
    <>
      <Finder address={address} label="A playlist" />
      <Shown of={playlists}>
        {(page) =>
          page.playlists.length
            ? (
              <>
                <Table caption="Playlists" head={["Playlist", "Channel", "Videos", "Held", "Gone", "Looked at"]}>
                  {page.playlists.map((one) => (
                    <tr key={one.playlist_id}>
                      <th scope="row">
                        <a href={`/p/${one.playlist_id}`}>{one.title ?? one.playlist_id}</a>
                      </th>
                      <td>
                        {one.channel && (
                          <a href={channelUrl({ channel: one.channel, channel_id: one.channel_id })}>{one.channel}</a>
                        )}
                      </td>
                      <td class="number">{one.entries.toLocaleString("en")}</td>
                      <td class="number">{one.held.toLocaleString("en")}</td>
                      <td class="number">{one.gone.toLocaleString("en")}</td>
                      <td class="number">
                        <When at={one.fetched_at} />
                      </td>
                    </tr>
                  ))}
                </Table>
                <Pager offset={offset} limit={limit} total={page.total} href={(at) => address.with({ offset: at })} />
              </>
            )
            : (
              <Empty title={address.get("q") ? "No such playlist is known" : "No playlist was saved yet"}>
                <p>
                  A playlist or a channel that you <a href="/add">add</a>{" "}
                  appears here, with what is held of it and what went.
                </p>
              </Empty>
            )}
      </Shown>
    </>
  );
}

function Finder({ address, label }: { address: Address; label: string }) {
  const [words, type] = useState(address.get("q"));
  return (
    <form
      class="finder"
      onSubmit={(event) => {
        event.preventDefault();
        address.go({ q: words.trim() });
      }}
    >
      <input
        type="search"
        aria-label={label}
        placeholder={`${label}…`}
        value={words}
        onInput={(event) => type(event.currentTarget.value)}
      />
      <button type="submit">Find</button>
    </form>
  );
}
