/** `/`: what needs you, what runs, what is new. */
import { useLocation } from "preact-iso";
import { useState } from "preact/hooks";
import type { Job, VideoRow } from "../data/api.ts";
import { running } from "../data/live.ts";
import { useRead } from "../data/read.ts";
import { targetsIn } from "../data/targets.ts";
import { count, fromNow } from "../data/units.ts";
import { lastVisit } from "../data/visit.ts";
import { Empty, Heading, Section, Shown } from "../parts/basics.tsx";
import { JobCard, Needs, RunningRow } from "../parts/jobs.tsx";
import { Cards, VideoCard } from "../parts/videos.tsx";

const MOST_RUNNING = 6;
const MOST_JOBS = 5;
const MOST_BEGUN = 6;
const NEWS = ["source", "service", "work_plan", "fixity", "dead", "follow"];

export function Today() {
  return (
    <>
      <Heading title="Today" />
      <PasteBox />
      <NeedsYou />
      <Running />
      <Continue />
      <New />
    </>
  );
}

function PasteBox() {
  const { route } = useLocation();
  return (
    <form
      class="paste"
      action="/add"
      onSubmit={(event) => {
        event.preventDefault();
        const targets = targetsIn(String(new FormData(event.currentTarget).get("t") ?? ""));
        if (targets.length) route(`/add?${new URLSearchParams({ t: targets.join("\n") })}`);
      }}
    >
      <label for="t">Save a video, a playlist or a channel</label>
      <div class="paste-row">
        <input
          id="t"
          name="t"
          type="text"
          inputMode="url"
          placeholder="https://www.youtube.com/…"
          autocomplete="off"
          required
        />
        <button type="submit" class="primary">Look</button>
      </div>
    </form>
  );
}

function NeedsYou() {
  const attention = useRead("/api/v1/attention", { topics: NEWS });
  const { needs = [], unknown = [] } = attention.data ?? {};
  if (attention.problem && !attention.data) {
    return (
      <Section title="Needs you">
        <Shown of={attention}>{() => null}</Shown>
      </Section>
    );
  }
  if (!needs.length && !unknown.length) return null;
  return (
    <Section title="Needs you">
      <Needs needs={needs} />
      {unknown.map((text) => <p key={text} class="small">Not known: {text}</p>)}
    </Section>
  );
}

function Running() {
  const jobs = useRead("/api/v1/jobs", { query: { status: "open", sort: "queue", limit: MOST_JOBS }, topics: ["job"] });
  const now = [...running.value].slice(0, MOST_RUNNING);
  return (
    <Section title="Running" more={<a href="/activity">Activity</a>}>
      {now.length > 0 && (
        <ul class="plain now">
          {now.map(([id, news]) => <RunningRow key={id} videoId={id} title={news.data.title ?? id} />)}
        </ul>
      )}
      <Shown of={jobs} waiting="Reading the queue…">
        {(page) =>
          page.jobs.length
            ? (
              <>
                <ul class="plain">{page.jobs.map((job: Job) => <JobCard key={job.job_id} job={job} />)}</ul>
                {page.total > page.jobs.length && (
                  <p class="small">
                    <a href="/activity">And {count(page.total - page.jobs.length, "more job")}</a>
                  </p>
                )}
              </>
            )
            : <p class="small">Nothing waits and nothing runs.</p>}
      </Shown>
    </Section>
  );
}

/** What was begun and not finished. */
function Continue() {
  const watching = useRead("/api/v1/storage/watching", { query: { limit: MOST_BEGUN } });
  if (!watching.data?.videos.length) return null;
  return (
    <Section title="Continue watching">
      <Cards>
        {watching.data.videos.map((video) => (
          <VideoCard
            key={video.root + video.video_id}
            video={video}
            seen={(video.state.position_seconds ?? 0) / (video.state.duration_seconds || video.duration_seconds || 1)}
          />
        ))}
      </Cards>
    </Section>
  );
}

function New() {
  const [since] = useState(() => lastVisit());
  const videos = useRead("/api/v1/storage/videos", { query: { limit: 24, sort: "-archived_at" }, topics: ["video"] });
  return (
    <Shown of={videos} waiting="Reading the archive…">
      {(page) => {
        if (!page.videos.length) {
          return (
            <Section title="New">
              <Empty title="Nothing is saved yet">
                <p>
                  Paste the address of a video, a playlist or a channel above. It stays here, whatever becomes of it
                  there.
                </p>
              </Empty>
            </Section>
          );
        }
        const fresh = since ? page.videos.filter((video) => Date.parse(video.archived_at) > Date.parse(since)) : [];
        const earlier = page.videos.slice(fresh.length, Math.max(12, fresh.length));
        return (
          <>
            {fresh.length > 0 && <Videos title={`New since your last visit, ${fromNow(since)}`} videos={fresh} />}
            {earlier.length > 0 && <Videos title={fresh.length ? "Before" : "Saved lately"} videos={earlier} />}
          </>
        );
      }}
    </Shown>
  );
}

function Videos({ title, videos }: { title: string; videos: readonly VideoRow[] }) {
  return (
    <Section title={title} more={<a href="/library">Library</a>}>
      <Cards>{videos.map((video) => <VideoCard key={video.root + video.video_id} video={video} />)}</Cards>
    </Section>
  );
}
