/** Jobs and their videos, as several pages show them. */
import type { Item, Job } from "../data/api.ts";
import { order } from "../data/client.ts";
import { running } from "../data/live.ts";
import { bytes, count, span, timeOf } from "../data/units.ts";
import { announce, toast } from "./announcer.tsx";
import { Act, Bar, Confirm, Tag, When } from "./basics.tsx";

const STATES: Record<Job["status"], [string, string]> = {
  created: ["is being queued", ""],
  queued: ["waits", ""],
  running: ["runs", "live"],
  completed: ["done", "good"],
  failed: ["failed", "bad"],
  cancelled: ["cancelled", ""],
  retrying: ["waits for a retry", "warn"],
};

export function jobTitle(job: Job): string {
  return job.title ?? job.targets[0] ?? job.job_id;
}

export function ended(job: Job): boolean {
  return ["completed", "failed", "cancelled"].includes(job.status);
}

export function JobState({ job }: { job: Job }) {
  if (job.cancelling && !ended(job)) return <Tag kind="warn">is being cancelled</Tag>;
  if (job.paused && !ended(job)) return <Tag kind="warn">paused</Tag>;
  const [text, kind] = STATES[job.status];
  return <Tag kind={kind}>{text}</Tag>;
}

/** What became of the videos of a job, as one sentence. */
export function outcome(job: Job): string {
  const { total = 0, open = 0, archived = 0, skipped = 0, unavailable = 0, failed = 0, cancelled = 0 } = job.counts ??
    {};
  if (!total) return job.listed ? "no videos" : "the list is being read";
  const parts = [
    archived && `${archived.toLocaleString("en")} saved`,
    skipped && `${skipped.toLocaleString("en")} held already`,
    unavailable && `${unavailable.toLocaleString("en")} unavailable`,
    failed && `${failed.toLocaleString("en")} failed`,
    cancelled && `${cancelled.toLocaleString("en")} cancelled`,
    open && `${open.toLocaleString("en")} to go`,
  ].filter(Boolean);
  return `${count(total, "video")}${job.listed ? "" : " so far"}: ${parts.join(", ")}`;
}

/** Why nothing of a job runs now; "" while something does, or after its end. */
export function whyNot(job: Job): string {
  if (ended(job)) return "";
  if (job.paused) return "Paused by you. Resume it to go on.";
  if (job.waiting_for) return job.waiting_for;
  if (job.retry_at) return `The next attempt is at ${timeOf(job.retry_at)}.`;
  if (job.status === "queued") return "Waits for a free slot.";
  return "";
}

export function JobCard({ job }: { job: Job }) {
  const done = (job.counts?.total ?? 0) - (job.counts?.open ?? 0);
  const why = whyNot(job);
  return (
    <li class="job">
      <div class="job-head">
        <a class="job-title" href={`/j/${job.job_id}`}>{jobTitle(job)}</a>
        <JobState job={job} />
        {!!job.priority && <Tag>priority {job.priority}</Tag>}
      </div>
      <Bar
        value={job.counts?.total ? done : undefined}
        max={Math.max(1, job.counts?.total ?? 1)}
        label={outcome(job)}
      />
      <p class="small">
        {outcome(job)} · <When at={job.finished_at ?? job.created_at} />
      </p>
      {why && <p class="why">{why}</p>}
      {job.error && <p class="why bad">{job.error.message}</p>}
    </li>
  );
}

/** What can be done with a job now. */
export function JobActions({ job }: { job: Job }) {
  const path = { job_id: job.job_id };
  const name = jobTitle(job);
  if (ended(job)) {
    const gaps = (job.counts?.failed ?? 0) + (job.counts?.unavailable ?? 0) > 0 || job.status === "failed";
    return gaps
      ? (
        <Act
          act={() => order("POST /api/v1/jobs/{job_id}/retry", { path }).then(() => toast(`${name} is tried again.`))}
        >
          Try the rest again
        </Act>
      )
      : null;
  }
  return (
    <>
      {job.paused
        ? (
          <Act
            act={() => order("POST /api/v1/jobs/{job_id}/resume", { path }).then(() => announce(`${name} goes on.`))}
          >
            Resume
          </Act>
        )
        : (
          <Act
            act={() => order("POST /api/v1/jobs/{job_id}/pause", { path }).then(() => announce(`${name} is paused.`))}
          >
            Pause
          </Act>
        )}
      <Act
        act={() =>
          order("PATCH /api/v1/jobs/{job_id}", { path, body: { priority: Math.min(100, (job.priority ?? 0) + 10) } })
            .then(() => toast(`${name} goes before others now.`))}
      >
        Earlier
      </Act>
      <Confirm
        title="Cancel this job?"
        ask={<p>Nothing more of “{name}” is fetched. What is saved stays saved.</p>}
        confirm="Cancel the job"
        act={() =>
          order("POST /api/v1/jobs/{job_id}/cancel", { path, body: {} }).then(() => toast(`${name} is cancelled.`))}
      >
        Cancel
      </Confirm>
    </>
  );
}

/** A download that runs, with its speed and how long it still takes. */
export function RunningRow({ videoId, title }: { videoId: string; title: string }) {
  const news = running.value.get(videoId);
  const progress = news?.data.progress;
  const detail = progress
    ? [
      progress.total ? `${bytes(progress.current)} of ${bytes(progress.total)}` : bytes(progress.current),
      progress.speed_bps ? `${bytes(progress.speed_bps)}/s` : "",
      progress.eta_seconds != null ? `${span(progress.eta_seconds)} left` : "",
    ].filter(Boolean).join(" · ")
    : "begins";
  return (
    <li class="running">
      <span class="running-title">{title}</span>
      <Bar value={progress?.total ? progress.percentage : undefined} label={`${title}: ${detail}`} />
      <span class="small">{detail}</span>
    </li>
  );
}

const ITEM_STATES: Record<Item["status"], [string, string]> = {
  listed: ["is being looked up", ""],
  waiting: ["waits", ""],
  running: ["is fetched", "live"],
  closing: ["is being given up", "warn"],
  archived: ["saved", "good"],
  skipped: ["held already", "good"],
  unavailable: ["unavailable", "warn"],
  failed: ["failed", "bad"],
  cancelled: ["cancelled", ""],
};

export function ItemState({ item }: { item: Item }) {
  const [text, kind] = ITEM_STATES[item.status];
  return <Tag kind={kind}>{item.status === "waiting" && item.retry_at ? "waits for a retry" : text}</Tag>;
}

export function itemReason(item: Item): string {
  const retry = item.retry_at && item.status === "waiting" ? `Next attempt at ${timeOf(item.retry_at)}.` : "";
  return [item.message, retry].filter(Boolean).join(" ");
}
