/** `/j/{id}`: one job: the state of each of its videos, why something waits, and what became of the others. */
import { useLocation } from "preact-iso";
import { useMemo } from "preact/hooks";
import type { Item, ItemStates, ItemStatus, Job } from "../data/api.ts";
import { order } from "../data/client.ts";
import { followOfJob } from "../data/follows.ts";
import { running } from "../data/live.ts";
import { gridOf, itemAt } from "../data/pixels.ts";
import { useRead } from "../data/read.ts";
import { count } from "../data/units.ts";
import { toast } from "../parts/announcer.tsx";
import { type Address, useAddress } from "../parts/address.ts";
import {
  Act,
  Bar,
  Choices,
  Empty,
  Facts,
  Heading,
  Notice,
  Pager,
  Section,
  Shown,
  Table,
  When,
} from "../parts/basics.tsx";
import {
  ended,
  ITEM_STATES,
  itemReason,
  ItemState,
  JobActions,
  JobState,
  jobTitle,
  outcome,
  RunningRow,
  whyNot,
} from "../parts/jobs.tsx";
import { watchUrl } from "../parts/videos.tsx";

const LIMIT = 100;
const NEWS = ["job", "download", "video", "listing", "archive", "work_plan"];

export function JobPage({ id }: { id: string }) {
  const address = useAddress();
  const summary = useRead("/api/v1/jobs/{job_id}/summary", { path: { job_id: id }, topics: NEWS });
  const states = useRead("/api/v1/jobs/{job_id}/states", { path: { job_id: id }, topics: NEWS });
  const follow = followOfJob(id);
  return (
    <Shown of={summary} waiting="Reading the job…">
      {({ job }) => (
        <>
          <Heading
            title={jobTitle(job)}
            about={
              <>
                <JobState job={job} /> {outcome(job)}
              </>
            }
          >
            <JobActions job={job} />
          </Heading>
          {!ended(job) && (
            <Bar
              value={job.counts?.total ? job.counts.total - (job.counts.open ?? 0) : undefined}
              max={Math.max(1, job.counts?.total ?? 1)}
              label={outcome(job)}
            />
          )}
          {whyNot(job) && <Notice kind="warn">{whyNot(job)}</Notice>}
          {job.error && <Notice kind="bad">{job.error.message}</Notice>}
          {job.notes?.map((note) => <Notice key={note}>{note}</Notice>)}
          <Gaps job={job} />
          <Shown of={states}>{(found) => <Pixels found={found} address={address} />}</Shown>
          <Running jobId={id} />
          <Items job={job} states={states.data} address={address} />
          <Section title="About this job">
            <Facts
              rows={[
                !!follow && ["Found by", <a key="o" href={`/follow/${follow}`}>a follow</a>],
                ["Asked for", <Targets key="f" job={job} />],
                ["Quality", String(job.options.quality ?? "")],
                ["Captions", captionsOf(job)],
                ["Priority", String(job.priority ?? 0)],
                ["Saved in", job.root],
                ["Begun", <When key="b" at={job.created_at} />],
                !!job.finished_at && ["Ended", <When key="e" at={job.finished_at} />],
                ["Job", job.job_id],
                ["What happened", <a key="t" href={`/t/${job.trace_id}`}>Its story, step by step</a>],
              ]}
            />
          </Section>
        </>
      )}
    </Shown>
  );
}

function captionsOf(job: Job): string {
  const { include_captions: wanted, caption_languages: languages } = job.options;
  return wanted === false ? "none" : Array.isArray(languages) ? languages.join(", ") : "";
}

function Targets({ job }: { job: Job }) {
  const more = (job.target_count ?? 0) - job.targets.length;
  return (
    <>
      {job.targets.slice(0, 5).join(", ")}
      {job.targets.length > 5 && (
        <details>
          <summary>{count(job.targets.length - 5 + Math.max(0, more), "more")}</summary>
          {job.targets.slice(5).join(", ")}
          {more > 0 && ` and ${more.toLocaleString("en")} others`}
        </details>
      )}
    </>
  );
}

/** What could not be saved, and where it is noted. */
function Gaps({ job }: { job: Job }) {
  const gaps = (job.counts?.failed ?? 0) + (job.counts?.unavailable ?? 0);
  if (!job.work_plan || !gaps) return null;
  return (
    <Notice kind="warn">
      <p>
        {count(gaps, "video")} could not be saved.{" "}
        <a href={`/missing?plan=${encodeURIComponent(job.job_id)}`}>Its work plan</a>{" "}
        says why, and when each is looked at again.
      </p>
    </Notice>
  );
}

/** A cell for each video, in the order of the list: gaps are seen where they are. */
function Pixels({ found, address }: { found: ItemStates; address: Address }) {
  const { route } = useLocation();
  const grid = useMemo(() => gridOf(found.states), [found.states]);
  if (!found.states) return null;
  const present = Object.entries(found.legend).filter(([letter]) => grid.counts.has(letter));
  const text = present.map(([letter, status]) => `${grid.counts.get(letter)} ${ITEM_STATES[status][0]}`).join(", ");
  const go = (event: MouseEvent & { currentTarget: SVGElement }) => {
    const box = event.currentTarget.getBoundingClientRect();
    const [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    const item = itemAt(grid, found.states.length, x, y);
    if (item !== null) route(address.with({ status: "", offset: Math.floor(item / LIMIT) * LIMIT }));
  };
  return (
    <figure class="pixels">
      <svg
        viewBox={`0 0 ${grid.columns} ${grid.rows}`}
        height={grid.rows === 1 ? 28 : Math.min(480, grid.rows * 8)}
        preserveAspectRatio="none"
        role="img"
        aria-label={`${count(found.states.length, "video")} in the order of the list: ${text}`}
        onClick={go}
      >
        {present.map(([letter, status]) => (
          <path
            key={letter}
            class={`cell in-${status}`}
            d={grid.paths.get(letter)}
          />
        ))}
      </svg>
      <figcaption>
        <details>
          <summary>
            <ul class="legend">
              {present.map(([letter, status]) => (
                <li key={letter}>
                  <span class={`swatch in-${status}`} aria-hidden="true" />
                  {ITEM_STATES[status][0]}: <strong>{grid.counts.get(letter)?.toLocaleString("en")}</strong>
                </li>
              ))}
            </ul>
          </summary>
          <Table caption="How many videos are in which state" head={["State", "Videos", "Share"]}>
            {present.map(([letter, status]) => (
              <tr key={letter}>
                <th scope="row">{ITEM_STATES[status][0]}</th>
                <td class="number">{grid.counts.get(letter)?.toLocaleString("en")}</td>
                <td class="number">{(100 * (grid.counts.get(letter) ?? 0) / found.states.length).toFixed(1)} %</td>
              </tr>
            ))}
          </Table>
        </details>
      </figcaption>
    </figure>
  );
}

function Running({ jobId }: { jobId: string }) {
  const mine = [...running.value].filter(([, news]) => news.data.job_id === jobId);
  if (!mine.length) return null;
  return (
    <Section title="Running">
      <ul class="plain">
        {mine.map(([video, news]) => <RunningRow key={video} videoId={video} title={news.data.title ?? video} />)}
      </ul>
    </Section>
  );
}

function Items({ job, states, address }: { job: Job; states: ItemStates | undefined; address: Address }) {
  const offset = address.number("offset", 0);
  const status = address.get("status");
  const items = useRead("/api/v1/jobs/{job_id}/items", {
    path: { job_id: job.job_id },
    query: { limit: LIMIT, offset, ...(status in ITEM_STATES ? { status: status as ItemStatus } : {}) },
    topics: NEWS,
  });
  const present = Object.entries(states?.legend ?? {}).filter(([letter, name]) =>
    states?.states.includes(letter) || name === status
  );
  return (
    <Section title="Videos">
      {present.length > 1 && (
        <Choices
          label="Which videos"
          options={[["", "All"], ...present.map(([, name]) => [name, ITEM_STATES[name][0]] as const)]}
          chosen={status}
          href={(value) => address.with({ status: value })}
        />
      )}
      <Shown of={items}>
        {(page) =>
          page.items.length
            ? (
              <>
                <Table
                  caption="The videos of this job"
                  head={["#", "Video", "State", "Why", <span key="d" class="unseen">What can be done</span>]}
                  class="items flows"
                >
                  {page.items.map((item) => <ItemRow key={item.video_id} item={item} job={job} />)}
                </Table>
                <Pager offset={offset} limit={LIMIT} total={page.total} href={(at) => address.with({ offset: at })} />
              </>
            )
            : (
              <Empty title={status ? "No video is in this state" : job.listed ? "No videos" : "The list is being read"}>
                {status
                  ? (
                    <p>
                      <a href={address.with({ status: "" })}>Show all videos of the job</a>
                    </p>
                  )
                  : <p>Videos appear here as soon as YouTube has named them.</p>}
              </Empty>
            )}
      </Shown>
    </Section>
  );
}

function ItemRow({ item, job }: { item: Item; job: Job }) {
  const title = item.title ?? item.video_id;
  const held = ["archived", "skipped"].includes(item.status);
  const stoppable = !ended(job) && ["listed", "waiting", "running"].includes(item.status);
  return (
    <tr>
      <td class="number">{(item.position + 1).toLocaleString("en")}</td>
      <td>{held ? <a href={watchUrl(item.video_id)}>{title}</a> : title}</td>
      <td>
        <ItemState item={item} />
      </td>
      <td>{itemReason(item, job)}</td>
      <td>
        {stoppable && (
          <Act
            kind="slight"
            title={`Leave out ${title}`}
            act={() =>
              order("POST /api/v1/jobs/{job_id}/cancel", {
                path: { job_id: job.job_id },
                body: { video_id: item.video_id },
              }).then(() => toast(`${title} is left out.`))}
          >
            Leave out
          </Act>
        )}
      </td>
    </tr>
  );
}
