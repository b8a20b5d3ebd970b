/** `/`: what needs you, what runs, what is new. */
import { useLocation } from "preact-iso";
import type { Job } from "../data/api.ts";
import { running } from "../data/live.ts";
import { useRead } from "../data/read.ts";
import { Empty, Heading, Section, Shown } from "../parts/basics.tsx";
import { JobCard, RunningRow } from "../parts/jobs.tsx";
import { Cards, VideoCard } from "../parts/videos.tsx";

export function Today() {
  const jobs = useRead("/api/v1/jobs", { query: { status: "open", limit: 20 }, topics: ["job"] });
  const videos = useRead("/api/v1/storage/videos", { query: { limit: 12 }, topics: ["video"] });
  return (
    <>
      <Heading title="Today" />
      <PasteBox />
      {running.value.size > 0 && (
        <Section title="Running">
          <ul class="plain">
            {[...running.value].slice(0, 12).map(([id, news]) => (
              <RunningRow key={id} videoId={id} title={news.data.title ?? id} />
            ))}
          </ul>
        </Section>
      )}
      <Section title="Jobs" more={<a href="/activity">All</a>}>
        <Shown of={jobs}>
          {(page) =>
            page.jobs.length
              ? <ul class="plain">{page.jobs.map((job: Job) => <JobCard key={job.job_id} job={job} />)}</ul>
              : <p>Nothing waits and nothing runs.</p>}
        </Shown>
      </Section>
      <Section title="New" more={<a href="/library">Library</a>}>
        <Shown of={videos}>
          {(page) =>
            page.videos.length
              ? (
                <Cards>
                  {page.videos.map((video) => <VideoCard key={video.root + video.video_id} video={video} />)}
                </Cards>
              )
              : (
                <Empty title="Nothing is saved yet">
                  <p>
                    Paste the address of a video, a playlist or a channel above. It stays here, whatever becomes of it
                    there.
                  </p>
                </Empty>
              )}
        </Shown>
      </Section>
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
        const target = new FormData(event.currentTarget).get("t");
        if (typeof target === "string" && target.trim()) route(`/add?t=${encodeURIComponent(target.trim())}`);
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
