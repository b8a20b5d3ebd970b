/** `/c/{id}`: a channel, by its id or its name: what is held of it. */
import { useRead } from "../data/read.ts";
import { count } from "../data/units.ts";
import { useAddress } from "../parts/address.ts";
import { Availability } from "../parts/availability.tsx";
import { Empty, Figure, Heading, Pager, Section, Shown } from "../parts/basics.tsx";
import { FollowLink } from "../parts/follow_link.tsx";
import { Columns } from "../parts/plots.tsx";
import { Cards, VideoCard } from "../parts/videos.tsx";

const LIMIT = 48;
const COUNTED = ["video", "work_plan"] as const; // news that change what is held, and what is gone

/** `id`: decoded already. */
export function Channel({ id }: { id: string }) {
  const address = useAddress();
  const offset = address.number("offset", 0);
  const uploads = /^UC[\w-]{22}$/.test(id) ? `UU${id.slice(2)}` : null;
  const videos = useRead("/api/v1/storage/videos", {
    query: { channel: id, limit: LIMIT, offset, sort: "-upload_date" },
    topics: ["video"],
  });
  const facets = useRead("/api/v1/storage/facets", { query: { channel: id }, topics: COUNTED });
  const months = useRead("/api/v1/storage/buckets", { query: { channel: id, by: "upload_date" }, topics: COUNTED });
  const lists = useRead(uploads ? "/api/v1/storage/playlists" : null, {
    query: { q: uploads ?? "", limit: 1 },
    topics: ["listing", "playlist", ...COUNTED],
  });
  const list = lists.data?.playlists.find((one) => one.playlist_id === uploads);
  const first = videos.data?.videos[0];
  const name = first?.channel ?? facets.data?.channels[0]?.value ?? id;
  const target = uploads ? `https://www.youtube.com/channel/${id}` : "";
  const years = [...(facets.data?.years ?? [])].reverse();
  return (
    <>
      <Heading title={name}>
        {target && <a class="button primary" href={`/add?t=${encodeURIComponent(target)}`}>Look for new videos</a>}
        {target && <FollowLink target={target} place={`/c/${id}`} />}
        <a class="button" href={`/search?channel=${encodeURIComponent(id)}`}>Search in it</a>
        <a class="button" href={`/library?channel=${encodeURIComponent(name)}`}>In the library</a>
      </Heading>
      <Shown of={videos}>
        {(page) =>
          page.total
            ? (
              <>
                <div class="figures">
                  <Figure
                    value={page.total.toLocaleString("en")}
                    label={page.total === 1 ? "video held" : "videos held"}
                  />
                  {list && (
                    <Figure
                      value={list.entries.toLocaleString("en")}
                      label="uploads at the last look"
                      href={`/p/${uploads}`}
                    />
                  )}
                  {facets.data && (
                    <Figure
                      value={facets.data.gone.toLocaleString("en")}
                      label="gone from YouTube"
                      href={`/library?channel=${encodeURIComponent(name)}&status=gone`}
                    />
                  )}
                  {months.data && <Figure value={count(months.data.buckets.length, "month")} label="with videos" />}
                </div>
                {years.length > 1 && (
                  <Section title="By year">
                    <Columns
                      title={`Videos of ${name} by the year in which they were made`}
                      head={["Year", "Videos"]}
                      columns={years.map((one) => ({
                        label: one.value,
                        value: one.videos,
                        text: `${one.value}: ${count(one.videos, "video")}`,
                        href: `/library?channel=${encodeURIComponent(name)}&year=${one.value}`,
                      }))}
                    />
                  </Section>
                )}
                <Section title="Videos">
                  <Cards>
                    {page.videos.map((video) => <VideoCard key={video.root + video.video_id} video={video} />)}
                  </Cards>
                  <Pager offset={offset} limit={LIMIT} total={page.total} href={(at) => address.with({ offset: at })} />
                </Section>
              </>
            )
            : (
              <Empty title="Nothing of this channel is held">
                <p>
                  {target
                    ? <a href={`/add?t=${encodeURIComponent(target)}`}>See what it has</a>
                    : <a href="/library?show=channels">All channels</a>}
                </p>
              </Empty>
            )}
      </Shown>
      {uploads && list && <Availability id={uploads} />}
    </>
  );
}
