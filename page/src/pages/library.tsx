/** `/library`: everything that is held. */
import { useRead } from "../data/read.ts";
import { useAddress } from "../parts/address.ts";
import { Empty, Heading, Pager, Shown } from "../parts/basics.tsx";
import { Cards, VideoCard } from "../parts/videos.tsx";

const LIMIT = 60;

export function Library() {
  const address = useAddress();
  const offset = address.number("offset", 0);
  const videos = useRead("/api/v1/storage/videos", {
    query: { limit: LIMIT, offset, q: address.get("q") },
    topics: ["video"],
  });
  return (
    <>
      <Heading title="Library" />
      <Shown of={videos}>
        {(page) =>
          page.videos.length
            ? (
              <>
                <Cards>
                  {page.videos.map((video) => <VideoCard key={video.root + video.video_id} video={video} />)}
                </Cards>
                <Pager offset={offset} limit={LIMIT} total={page.total} href={(at) => address.with({ offset: at })} />
              </>
            )
            : (
              <Empty title="Nothing is saved yet">
                <p>
                  <a href="/add">Add a video, a playlist or a channel.</a>
                </p>
              </Empty>
            )}
      </Shown>
    </>
  );
}
