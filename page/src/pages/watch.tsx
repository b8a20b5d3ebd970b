/** `/v/{id}`: the player, what is said, and all that is known of a video. */
import { useEffect } from "preact/hooks";
import type { Existence, FileFact, HeldCopy, TimelineEvent } from "../data/api.ts";
import { fileUrl, order } from "../data/client.ts";
import { type Reading, useRead } from "../data/read.ts";
import { bytes, clock, count, day, moment } from "../data/units.ts";
import { useAddress } from "../parts/address.ts";
import { toast } from "../parts/announcer.tsx";
import { Act, Choices, Empty, Facts, Heading, Notice, Section, Shown, Table, Tag, When } from "../parts/basics.tsx";
import { Ribbon } from "../parts/ribbon.tsx";
import { Cards, channelUrl, VideoCard } from "../parts/videos.tsx";
import { indexAt } from "../player/cues.ts";
import { languageName } from "../player/stage.tsx";
import { continuedAt, failure, jump, playable, playing, position, setSpeed, show, speed } from "../player/state.ts";
import { TranscriptPane } from "../player/transcript.tsx";

/** What the archive has written down of a video; see VideoMetadata. */
interface Known {
  title?: string;
  description?: string;
  channel?: string | null;
  channel_id?: string | null;
  upload_date?: string | null;
  duration_seconds?: number | null;
  view_count?: number | null;
  like_count?: number | null;
  tags?: string[];
  categories?: string[];
  chapters?: { start_time?: number; title?: string }[];
  license?: string | null;
  language?: string | null;
  webpage_url?: string | null;
}

const TABS = [
  ["", "About"],
  ["chapters", "Chapters"],
  ["history", "History"],
  ["provenance", "Provenance"],
  ["files", "Files"],
] as const;

export function Watch({ id }: { id: string }) {
  const address = useAddress();
  const held = useRead("/api/v1/storage/exists/{video_id}", { path: { video_id: id }, topics: ["video", "fixity"] });
  const described = useRead("/api/v1/storage/metadata/{video_id}", {
    path: { video_id: id },
    topics: ["video", "metadata"],
  });
  const known = knownOf(described.data);
  const copy = held.data?.copies[0];
  const title = known.title ?? id;
  const at = address.get("at");
  const ready = copy !== undefined && !held.loading &&
    (described.data !== undefined || described.problem !== undefined) &&
    !described.loading;

  useEffect(() => {
    const next = ready ? playable(copy, id, title, known.channel ?? null) : null;
    if (next) void show(next, /^\d+(\.\d+)?$/.test(at) ? Number(at) : null);
  }, [ready, id, at]);

  const captions = copy?.files.filter((file) => file.role === "caption").map((file) => file.language ?? "") ?? [];
  const tab = address.get("tab");
  const about = [
    known.channel && (
      <a href={channelUrl({ channel: known.channel, channel_id: known.channel_id ?? null })}>{known.channel}</a>
    ),
    day(known.upload_date),
  ];
  return (
    <div class="watch">
      <div class="watch-main">
        <Heading title={title} about={<>{about[0]} {about[1] && <>· {about[1]}</>}</>}>
          {copy && <Speed />}
        </Heading>
        <Shown of={held}>{(existence) => <State existence={existence} />}</Shown>
        {failure.value && playing.value?.videoId === id && <Failed />}
        {continuedAt.value !== null && playing.value?.videoId === id && (
          <Notice>
            <p>
              Continued at {clock(continuedAt.value)}.{" "}
              <button
                type="button"
                onClick={() => {
                  continuedAt.value = null;
                  jump(0);
                }}
              >
                From the beginning
              </button>
            </p>
          </Notice>
        )}
        <Choices label="What to show" options={TABS} chosen={tab} href={(value) => address.with({ tab: value })} />
        {tab === "" && <About known={known} reading={described} />}
        {tab === "chapters" && <Chapters known={known} />}
        {tab === "history" && <History id={id} />}
        {tab === "provenance" && (
          <Provenance id={id} copy={copy} record={described.data?.record ?? null} known={known} />
        )}
        {tab === "files" && <Files id={id} copies={held.data?.copies ?? []} />}
        {known.channel && <More id={id} channel={known.channel_id ?? known.channel} name={known.channel} />}
      </div>
      {captions.length > 0 && (
        <TranscriptPane
          key={`${id} ${address.get("find")}`}
          videoId={id}
          languages={captions}
          find={address.get("find")}
        />
      )}
    </div>
  );
}

/** What else is held of the channel, the newest first. */
function More({ id, channel, name }: { id: string; channel: string; name: string }) {
  const videos = useRead("/api/v1/storage/videos", { query: { channel, limit: 9, sort: "-upload_date" } });
  const others = videos.data?.videos.filter((video) => video.video_id !== id).slice(0, 8) ?? [];
  if (!others.length) return null;
  return (
    <Section title={`More of ${name}`} more={<a href={`/c/${encodeURIComponent(channel)}`}>All</a>}>
      <Cards>{others.map((video) => <VideoCard key={video.root + video.video_id} video={video} />)}</Cards>
    </Section>
  );
}

function knownOf(data: { metadata: unknown; record: unknown } | undefined): Known {
  const file = data?.metadata as
    | { metadata?: Known; sources?: Record<string, { metadata?: Known }> } & Known
    | null
    | undefined;
  const record = data?.record as { metadata?: Known } | null | undefined;
  return { ...(file?.metadata ?? {}), ...(record?.metadata ?? {}) };
}

function State({ existence }: { existence: Existence }) {
  const copy = existence.copies[0];
  const gone = existence.known_gone;
  return (
    <>
      {gone && (
        <Notice kind={copy ? "good" : "warn"}>
          <p>
            {copy
              ? "Saved in time: this video is no longer on YouTube "
              : "This video is no longer on YouTube, and was not saved "}
            ({gone.reason}, found <When at={gone.at} />).
          </p>
        </Notice>
      )}
      {!copy && !gone && (
        <Empty title="This video is not in the archive">
          <p>
            <a href={`/add?t=${encodeURIComponent(existence.video_id)}`}>Save it</a>
          </p>
        </Empty>
      )}
      {copy && !copy.files.some((file) => file.role === "video" || file.role === "audio") && (
        <Notice kind="warn">
          <p>Only what is known of the video is held, not its picture and sound.</p>
        </Notice>
      )}
    </>
  );
}

/** The way to players of this machine, which play what a browser cannot. */
function OtherPlayers({ id }: { id: string }) {
  const link = useRead("/api/v1/media/{video_id}/link", { path: { video_id: id } });
  if (!link.data) return null;
  return (
    <>
      <a class="button" href={link.data.playlist}>Open in VLC or mpv</a>
      <Act
        act={() =>
          navigator.clipboard.writeText(link.data?.url ?? "").then(() =>
            toast("The address is copied. It is good for a day.")
          )}
      >
        Copy its address
      </Act>
    </>
  );
}

function Failed() {
  const video = playing.value;
  return (
    <Notice kind="warn">
      <p>
        {failure.value} {video && (
          <>
            <a href={video.src} download="">Download it</a>, or open it in a player of your machine:{" "}
            <OtherPlayers id={video.videoId} />
          </>
        )}
      </p>
    </Notice>
  );
}

function Speed() {
  return (
    <label class="speed">
      Speed
      <select value={String(speed.value)} onChange={(event) => setSpeed(Number(event.currentTarget.value))}>
        {[0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2, 2.5, 3].map((one) => (
          <option key={one} value={String(one)}>{one}×</option>
        ))}
      </select>
    </label>
  );
}

function About({ known, reading }: { known: Known; reading: Reading<unknown> }) {
  return (
    <Shown of={reading}>
      {() => (
        <>
          {known.description
            ? (
              <p class="prose">
                <Description text={known.description} />
              </p>
            )
            : <p class="small">The video has no description.</p>}
          <Facts
            rows={[
              ["Length", clock(known.duration_seconds)],
              known.view_count != null && ["Views, when it was saved", known.view_count.toLocaleString("en")],
              known.like_count != null && ["Likes", known.like_count.toLocaleString("en")],
              !!known.categories?.length && ["Category", known.categories.join(", ")],
              !!known.tags?.length &&
              ["Tags", <span key="t" class="tags">{known.tags.map((tag) => <Tag key={tag}>{tag}</Tag>)}</span>],
              !!known.language && ["Language", languageName(known.language)],
              !!known.license && ["License", known.license],
              !!known.webpage_url &&
              ["On YouTube", <a key="y" href={known.webpage_url} rel="noreferrer noopener">{known.webpage_url}</a>],
            ]}
          />
        </>
      )}
    </Shown>
  );
}

const TIMES = /(?<![\d:])((?:\d{1,2}:)?\d{1,2}:\d{2})(?![\d:])/;

/** A description whose times jump. */
function Description({ text }: { text: string }) {
  return (
    <>
      {text.split(TIMES).map((part, index) =>
        index % 2
          ? <button type="button" class="time-link" key={index} onClick={() => jump(secondsOf(part))}>{part}</button>
          : part
      )}
    </>
  );
}

function secondsOf(text: string): number {
  return text.split(":").reduce((sum, part) => sum * 60 + Number(part), 0);
}

function Chapters({ known }: { known: Known }) {
  const chapters = (known.chapters ?? []).map((one) => ({ start: one.start_time ?? 0, title: one.title ?? "" }));
  const current = indexAt(chapters.map((one) => one.start), position.value + 0.05);
  if (!chapters.length) return <Empty title="The video has no chapters" />;
  return (
    <ol class="lines chapters">
      {chapters.map((one, index) => (
        <li key={index}>
          <button
            type="button"
            class="line"
            aria-current={index === current ? "true" : undefined}
            onClick={() => jump(one.start)}
          >
            <span class="line-time">{clock(one.start)}</span>
            <span>{one.title}</span>
          </button>
        </li>
      ))}
    </ol>
  );
}

const CHANGES: Record<TimelineEvent["change"], string> = {
  first_look: "was in the first listing of",
  appeared: "appeared in",
  vanished: "is no longer listed in",
  private: "is private now",
  deleted: "was deleted",
  came_back: "came back",
  retitled: "has another title",
  archived: "was saved",
  replaced: "was replaced by a better version",
  added: "got further files",
  found_gone: "is no longer on YouTube",
  failed: "could not be saved",
  resolved: "was saved after all",
  looked: "was looked at again: nothing better",
  given_up: "is not looked at again",
};

function History({ id }: { id: string }) {
  const history = useRead("/api/v1/storage/history/{id}", {
    path: { id },
    query: { limit: 500 },
    topics: ["video", "work_plan"],
  });
  return (
    <Shown of={history}>
      {(page) => (
        <>
          {page.total > page.events.length
            ? <p class="small">The newest {page.events.length} of {count(page.total, "event")}.</p>
            : <Ribbon events={page.events} />}
          <Table caption="What happened to this video, newest first" head={["When", "What", "More"]}>
            {page.events.map((event, index) => (
              <tr key={index}>
                <td>{moment(event.at)}</td>
                <td>
                  {CHANGES[event.change]}{" "}
                  {event.playlist_id && (
                    <a href={`/p/${event.playlist_id}`}>{event.playlist_title ?? event.playlist_id}</a>
                  )}
                </td>
                <td>
                  {[
                    event.change === "retitled" ? `“${event.before ?? "?"}” → “${event.title ?? "?"}”` : event.reason,
                    event.files?.length ? count(event.files.length, "file") : "",
                    event.looks && event.looks > 1 ? `${event.looks} looks` : "",
                  ].filter(Boolean).join(" · ")}
                </td>
              </tr>
            ))}
          </Table>
        </>
      )}
    </Shown>
  );
}

interface TakenIn {
  take_ins?: {
    archived_at: string;
    provenance?: {
      source_url?: string;
      extractor?: string;
      format_ids?: string[];
      tools?: { [name: string]: string };
      trace_id?: string;
      finished_at?: string;
      height?: number;
      width?: number;
    };
  }[];
}

function Provenance(
  { id, copy, record, known }: { id: string; copy: HeldCopy | undefined; record: unknown; known: Known },
) {
  const takeIns = (record as TakenIn | null)?.take_ins ?? [];
  if (!copy || !takeIns.length) return <Empty title="Nothing was saved of this video" />;
  return (
    <article class="card-print">
      <h2>{known.title ?? id}</h2>
      <p class="small">
        Where the files of this video come from.{" "}
        <button type="button" class="no-print" onClick={() => print()}>Print</button>
      </p>
      {takeIns.map((one, index) => {
        const from = one.provenance;
        return (
          <Facts
            key={index}
            rows={[
              ["Saved", moment(one.archived_at)],
              !!from?.source_url && ["From", from.source_url],
              !!from?.height && ["Picture", `${from.width ?? "?"} × ${from.height}`],
              !!from?.format_ids?.length && ["Formats", from.format_ids.join(" + ")],
              !!from?.tools &&
              ["Made with", Object.entries(from.tools).map(([name, version]) => `${name} ${version}`).join(", ")],
              !!from?.trace_id && ["Story", <a key="t" href={`/t/${from.trace_id}`}>{from.trace_id}</a>],
            ]}
          />
        );
      })}
      <h3>Digests</h3>
      <Digests files={copy.files} />
    </article>
  );
}

function Digests({ files }: { files: readonly FileFact[] }) {
  return (
    <Table caption="Files with their SHA-256" head={["File", "Size", "SHA-256"]} class="digests">
      {files.map((file) => (
        <tr key={file.name}>
          <th scope="row">{file.name}</th>
          <td class="number">{bytes(file.size)}</td>
          <td>
            <code>{file.sha256}</code>
          </td>
        </tr>
      ))}
    </Table>
  );
}

function Files({ id, copies }: { id: string; copies: readonly HeldCopy[] }) {
  if (!copies.length) return <Empty title="No files are held" />;
  return (
    <>
      {copies.map((copy) => (
        <section key={copy.root}>
          <h2 class="small">{copy.root}</h2>
          <Table caption={`Files in ${copy.root}`} head={["File", "What", "Size", ""]}>
            {copy.files.map((file) => (
              <tr key={file.name}>
                <th scope="row">{file.name}</th>
                <td>{file.language ? `${file.role}, ${languageName(file.language)}` : file.role}</td>
                <td class="number">{bytes(file.size)}</td>
                <td>
                  <a href={fileUrl(id, file.name, copy.root)} download={file.name.split("/").at(-1)}>Download</a>
                </td>
              </tr>
            ))}
          </Table>
          <div class="actions after">
            <OtherPlayers id={id} />
            <a class="button" href={checksums(copy)} download={`${id}.sha256`}>List for sha256sum -c</a>
            <Act
              act={() =>
                order("POST /api/v1/storage/verify", { body: { video_ids: [id] } }).then(() =>
                  toast("The files are read again; Care shows the outcome.")
                )}
            >
              Read and compare now
            </Act>
          </div>
        </section>
      ))}
    </>
  );
}

function checksums(copy: HeldCopy): string {
  const lines = copy.files.map((file) => `${file.sha256}  ${file.name}\n`).join("");
  return `data:text/plain;charset=utf-8,${encodeURIComponent(lines)}`;
}
