/** `/j/{id}`: one job, its videos, why something waits. */
import { useRead } from "../data/read.ts";
import { useAddress } from "../parts/address.ts";
import { Bar, Facts, Heading, Notice, Pager, Section, Shown, Table, When } from "../parts/basics.tsx";
import { itemReason, ItemState, JobActions, JobState, jobTitle, outcome, whyNot } from "../parts/jobs.tsx";
import { watchUrl } from "../parts/videos.tsx";

const LIMIT = 100;

export function JobPage({ id }: { id: string }) {
  const address = useAddress();
  const offset = address.number("offset", 0);
  const summary = useRead("/api/v1/jobs/{job_id}/summary", {
    path: { job_id: id },
    topics: ["job", "download", "video"],
  });
  const items = useRead("/api/v1/jobs/{job_id}/items", {
    path: { job_id: id },
    query: { limit: LIMIT, offset },
    topics: ["download", "video", "job", "listing"],
  });
  return (
    <Shown of={summary}>
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
          <Bar
            value={job.counts?.total ? (job.counts.total ?? 0) - (job.counts.open ?? 0) : undefined}
            max={Math.max(1, job.counts?.total ?? 1)}
            label={outcome(job)}
          />
          {whyNot(job) && <Notice kind="warn">{whyNot(job)}</Notice>}
          {job.error && <Notice kind="bad">{job.error.message}</Notice>}
          {job.notes?.map((note) => <Notice key={note}>{note}</Notice>)}
          <Section title="Videos">
            <Shown of={items}>
              {(page) => (
                <>
                  <Table caption="The videos of this job" head={["#", "Video", "State", "Why"]}>
                    {page.items.map((item) => (
                      <tr key={item.video_id}>
                        <td class="number">{item.position + 1}</td>
                        <td>
                          <a href={watchUrl(item.video_id)}>{item.title ?? item.video_id}</a>
                        </td>
                        <td>
                          <ItemState item={item} />
                        </td>
                        <td>{itemReason(item)}</td>
                      </tr>
                    ))}
                  </Table>
                  <Pager offset={offset} limit={LIMIT} total={page.total} href={(at) => address.with({ offset: at })} />
                </>
              )}
            </Shown>
          </Section>
          <Section title="About this job">
            <Facts
              rows={[
                ["Asked for", job.targets.join(", ")],
                ["Quality", String(job.options.quality ?? "")],
                ["Saved in", job.root],
                ["Begun", <When key="b" at={job.created_at} />],
                !!job.finished_at && ["Ended", <When key="e" at={job.finished_at} />],
                ["Job", job.job_id],
                ["Trace", <a key="t" href={`/t/${job.trace_id}`}>{job.trace_id}</a>],
              ]}
            />
          </Section>
        </>
      )}
    </Shown>
  );
}
