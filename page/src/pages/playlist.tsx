/** `/p/{id}`: what a playlist has, what is held of it, what went. */
import { useRead } from "../data/read.ts";
import { clock, count } from "../data/units.ts";
import { useAddress } from "../parts/address.ts";
import { Availability } from "../parts/availability.tsx";
import { Choices, Empty, Figure, Heading, Pager, Section, Shown, Table, Tag, When } from "../parts/basics.tsx";
import { FollowLink } from "../parts/follow_link.tsx";
import { channelUrl, watchUrl } from "../parts/videos.tsx";

const LIMIT = 100;
const STATES = [["", "All"], ["held", "Held"], ["missing", "Not held"], ["gone", "Gone from YouTube"]] as const;

export function Playlist({ id }: { id: string }) {
  const address = useAddress();
  const offset = address.number("offset", 0);
  const state = address.get("state");
  const entries = useRead("/api/v1/storage/playlists/{playlist_id}", {
    path: { playlist_id: id },
    query: { limit: LIMIT, offset, ...(state ? { state: state as "held" } : {}) },
    topics: ["listing", "video", "playlist", "work_plan"],
  });
  return (
    <Shown of={entries}>
      {(page) => {
        const list = page.playlist;
        const address_ = `https://www.youtube.com/playlist?list=${id}`;
        return (
          <>
            <Heading
              title={list.title ?? id}
              about={list.channel && (
                <a href={channelUrl({ channel: list.channel, channel_id: list.channel_id })}>{list.channel}</a>
              )}
            >
              <a class="button primary" href={`/add?t=${encodeURIComponent(address_)}`}>Look for new videos</a>
              <FollowLink target={address_} place={`/p/${id}`} />
              <a class="button" href={`/search?playlist=${id}`}>Search in it</a>
            </Heading>
            <div class="figures">
              <Figure value={list.entries.toLocaleString("en")} label="in the list" />
              <Figure value={list.held.toLocaleString("en")} label="held" href={address.with({ state: "held" })} />
              <Figure
                value={(list.entries - list.held).toLocaleString("en")}
                label="not held"
                href={address.with({ state: "missing" })}
              />
              <Figure
                value={list.gone.toLocaleString("en")}
                label="gone from YouTube"
                href={address.with({ state: "gone" })}
              />
            </div>
            <p class="small">
              Looked at: <When at={list.fetched_at} />.
            </p>
            {page.description && <p class="prose">{page.description}</p>}
            <Section title="Videos">
              <Choices
                label="Which videos"
                options={STATES}
                chosen={state}
                href={(value) => address.with({ state: value })}
              />
              {page.entries.length
                ? (
                  <Table caption="The videos of this list" head={["#", "Video", "Length", "State"]}>
                    {page.entries.map((entry) => (
                      <tr key={entry.position}>
                        <td class="number">{entry.position + 1}</td>
                        <td>
                          {entry.held
                            ? <a href={watchUrl(entry.video_id)}>{entry.title ?? entry.video_id}</a>
                            : entry.title ?? entry.video_id}
                        </td>
                        <td class="number">{entry.duration_seconds ? clock(entry.duration_seconds) : ""}</td>
                        <td>
                          {entry.held ? <Tag kind="good">held</Tag> : <Tag kind="warn">not held</Tag>}{" "}
                          {entry.gone && <Tag kind="bad">{entry.gone.replaceAll("_", " ")}</Tag>}
                        </td>
                      </tr>
                    ))}
                  </Table>
                )
                : <Empty title={`No such video among ${count(list.entries, "entry", "entries")}`} />}
              <Pager offset={offset} limit={LIMIT} total={page.total} href={(at) => address.with({ offset: at })} />
            </Section>
            <Availability id={id} />
          </>
        );
      }}
    </Shown>
  );
}
