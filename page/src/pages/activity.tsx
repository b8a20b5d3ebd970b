/** `/activity`: what is done now, what waits and why, what ended. */
import type { Job, JobStatus, JobType, Need } from "../data/api.ts";
import { running } from "../data/live.ts";
import { useRead } from "../data/read.ts";
import { count } from "../data/units.ts";
import { type Address, useAddress } from "../parts/address.ts";
import { Choices, Empty, Heading, Pager, Section, Shown } from "../parts/basics.tsx";
import { ended, JobActions, JobCard, JobDetails, Needs, RunningRow } from "../parts/jobs.tsx";

const LIMIT = 25;
const MOST_RUNNING = 20;
const STOPS: ReadonlySet<Need["kind"]> = new Set(["service", "disk", "blocked", "waiting"]);
const HISTORY = [["", "All"], ["completed", "Done"], ["failed", "Failed"], ["cancelled", "Cancelled"]] as const;
const TYPES = [
  ["", "All kinds"],
  ["video_download", "Videos"],
  ["playlist_download", "Lists"],
  ["metadata_only", "Metadata"],
] as const;

export function Activity() {
  const address = useAddress();
  const history = address.get("show") === "history";
  return (
    <>
      <Heading title="Activity" about="What is done now, what comes next, and why something waits.">
        <a class="button" href="/add">Add something</a>
      </Heading>
      <Choices
        label="What to show"
        options={[["", "Queue"], ["history", "History"]]}
        chosen={address.get("show")}
        href={(value) => address.with({ show: value, status: "", type: "" })}
      />
      {history ? <History address={address} /> : <Queue address={address} />}
    </>
  );
}

function Queue({ address }: { address: Address }) {
  const offset = address.number("offset", 0);
  const jobs = useRead("/api/v1/jobs", {
    query: { limit: LIMIT, offset, status: "open", sort: "queue" },
    topics: ["job"],
  });
  return (
    <>
      <Stopped />
      <Now />
      <Section title="In the order in which it is done">
        <Shown of={jobs} waiting="Reading the queue…">
          {(page) =>
            page.jobs.length
              ? (
                <>
                  <ol class="plain queue" start={offset + 1}>
                    {page.jobs.map((job) => <QueueRow key={job.job_id} job={job} />)}
                  </ol>
                  <Pager offset={offset} limit={LIMIT} total={page.total} href={(at) => address.with({ offset: at })} />
                </>
              )
              : (
                <Empty title="Nothing waits and nothing runs">
                  <p>
                    <a href="/add">Add a video, a playlist or a channel</a>, or look at{" "}
                    <a href="/activity?show=history">what was done</a>.
                  </p>
                </Empty>
              )}
        </Shown>
      </Section>
    </>
  );
}

/** What keeps everything, or a part of it, from going on. */
function Stopped() {
  const attention = useRead("/api/v1/attention", { topics: ["source", "service"] });
  const stops = (attention.data?.needs ?? []).filter((need) => STOPS.has(need.kind));
  return stops.length ? <Needs needs={stops} /> : null;
}

function Now() {
  const now = [...running.value];
  if (!now.length) return null;
  return (
    <Section title="Running" more={<span class="small">{count(now.length, "download")}</span>}>
      <ul class="plain">
        {now.slice(0, MOST_RUNNING).map(([id, news]) => (
          <RunningRow key={id} videoId={id} title={news.data.title ?? id} />
        ))}
      </ul>
    </Section>
  );
}

function QueueRow({ job }: { job: Job }) {
  return (
    <JobCard job={job}>
      <div class="actions">
        <JobActions job={job} />
      </div>
      {!ended(job) && !!job.counts?.open && <JobDetails job={job} />}
    </JobCard>
  );
}

function History({ address }: { address: Address }) {
  const offset = address.number("offset", 0);
  const status = address.get("status");
  const type = address.get("type");
  const jobs = useRead("/api/v1/jobs", {
    query: {
      limit: LIMIT,
      offset,
      ...(status ? { status: status as JobStatus } : {}),
      ...(type ? { type: type as JobType } : {}),
    },
    topics: ["job"],
  });
  return (
    <Section title="What was done, newest first">
      <div class="filters">
        <Choices
          label="How it ended"
          options={HISTORY}
          chosen={status}
          href={(value) => address.with({ status: value })}
        />
        <Choices label="Which kind" options={TYPES} chosen={type} href={(value) => address.with({ type: value })} />
      </div>
      <Shown of={jobs} waiting="Reading the jobs…">
        {(page) => (
          <>
            {page.jobs.length
              ? <ul class="plain">{page.jobs.map((job) => <HistoryRow key={job.job_id} job={job} />)}</ul>
              : (
                <Empty title="There are no such jobs">
                  <p>
                    {status || type
                      ? <a href="/activity?show=history">Show all jobs</a>
                      : "Ended jobs stay here for some time: see [retention] in the settings."}
                  </p>
                </Empty>
              )}
            <Pager offset={offset} limit={LIMIT} total={page.total} href={(at) => address.with({ offset: at })} />
          </>
        )}
      </Shown>
    </Section>
  );
}

function HistoryRow({ job }: { job: Job }) {
  return (
    <JobCard job={job}>
      <div class="actions">
        <JobActions job={job} />
        <a href={`/t/${job.trace_id}`}>Story</a>
      </div>
    </JobCard>
  );
}
