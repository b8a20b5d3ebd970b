/** Jobs and their videos, as several pages show them. */
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import type { Item, ItemStatus, Job, Need } from "../data/api.ts";
import { order } from "../data/client.ts";
import { running } from "../data/live.ts";
import { useRead } from "../data/read.ts";
import { bytes, count, span, timeOf } from "../data/units.ts";
import { announce, toast } from "./announcer.tsx";
import { Act, Bar, Confirm, Shown, Tag, When } from "./basics.tsx";

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

const REASONS: Record<string, string> = {
  all_gone: "unusually many are gone",
  bot_check: "YouTube wants to know that you are no robot",
  copyright: "blocked for copyright",
  deleted: "deleted",
  disk_full: "the disk was full",
  failed: "failed",
  ip_blocked: "YouTube blocks this machine",
  login: "YouTube wants a login",
  members_only: "for members only",
  missing: "not available",
  private: "private",
  rate_limit: "too many requests",
  region_blocked: "not available in this country",
  terminated: "the account was terminated",
  unexplained: "refused without a reason",
  unknown: "refused without a reason",
};

/** A reason of a failure, or why a video is gone, in words. */
export function goneReason(reason: string): string {
  return REASONS[reason] ?? reason.replaceAll("_", " ");
}

/** What needs a person, each with what to do. */
export function Needs({ needs }: { needs: readonly Need[] }) {
  return (
    <ul class="plain needs">
      {needs.map((need) => (
        <li key={need.kind + need.title + need.text} class={`notice ${need.urgent ? "bad" : "warn"}`}>
          <div class="job-head">
            <a class="job-title" href={need.path}>{need.title}</a>
            {need.until && <Tag kind="warn">until {timeOf(need.until)}</Tag>}
          </div>
          <p>{need.text}</p>
        </li>
      ))}
    </ul>
  );
}

/** The videos of a job that wait for a later time or were given up, each with its reason. */
export function JobDetails({ job }: { job: Job }) {
  const [open, setOpen] = useState(false);
  return (
    <details class="why-details" onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>What each video waits for</summary>
      {open && <Noteworthy jobId={job.job_id} />}
    </details>
  );
}

const EACH = 10;

function Noteworthy({ jobId }: { jobId: string }) {
  const summary = useRead("/api/v1/jobs/{job_id}/summary", {
    path: { job_id: jobId },
    topics: ["job", "download", "video"],
  });
  return (
    <Shown of={summary}>
      {({ items, job }) => {
        const open = items.filter((item) => ["listed", "waiting", "running", "closing"].includes(item.status));
        if (!open.length) return <p class="small">Nothing of it waits for anything in particular.</p>;
        return (
          <ul class="plain small">
            {open.slice(0, EACH).map((item) => (
              <li key={item.video_id}>
                <ItemState item={item} /> {item.title ?? item.video_id} <span>{itemReason(item, job)}</span>
              </li>
            ))}
            {open.length > EACH && (
              <li>
                <a href={`/j/${jobId}`}>All videos of the job</a>
              </li>
            )}
          </ul>
        );
      }}
    </Shown>
  );
}

/** `children`: what can be done with it, and more about it. */
export function JobCard({ job, children }: { job: Job; children?: ComponentChildren }) {
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
      {children}
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
      <Act
        act={() =>
          order("PATCH /api/v1/jobs/{job_id}", { path, body: { priority: Math.max(-100, (job.priority ?? 0) - 10) } })
            .then(() => toast(`${name} goes after others now.`))}
      >
        Later
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
  const jobId = news?.data.job_id;
  const detail = progress
    ? [
      progress.total ? `${bytes(progress.current)} of ${bytes(progress.total)}` : bytes(progress.current),
      progress.speed_bps ? `${bytes(progress.speed_bps)}/s` : "",
      progress.eta_seconds != null ? `${span(progress.eta_seconds)} left` : "",
    ].filter(Boolean).join(" · ")
    : "begins";
  return (
    <li class="running">
      <span class="running-title">{jobId ? <a href={`/j/${jobId}`}>{title}</a> : title}</span>
      <Bar value={progress?.total ? progress.percentage : undefined} label={`${title}: ${detail}`} />
      <span class="small">{detail}</span>
    </li>
  );
}

export const ITEM_STATES: Record<ItemStatus, [string, string]> = {
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

/** Why an item waits, or what became of it. `job`: that of the item. */
export function itemReason(item: Item, job?: Job): string {
  const retry = item.retry_at && item.status === "waiting" ? `Next attempt at ${timeOf(item.retry_at)}.` : "";
  const queued = item.status === "waiting" && !item.retry_at && !job?.paused && !job?.waiting_for
    ? "Waits for a free slot."
    : "";
  return [item.message, retry, item.message ? "" : queued].filter(Boolean).join(" ");
}
