/** `/activity`: what is done now, what waits and why, what ended. */
import { running } from "../data/live.ts";
import { useRead } from "../data/read.ts";
import { useAddress } from "../parts/address.ts";
import { Choices, Empty, Heading, Pager, Section, Shown } from "../parts/basics.tsx";
import { JobActions, JobCard, RunningRow } from "../parts/jobs.tsx";

const LIMIT = 25;
const FILTERS = [["open", "Open"], ["", "All"], ["completed", "Done"], ["failed", "Failed"], [
  "cancelled",
  "Cancelled",
]] as const;

export function Activity() {
  const address = useAddress();
  const status = address.get("status") || "open";
  const offset = address.number("offset", 0);
  const jobs = useRead("/api/v1/jobs", {
    query: { limit: LIMIT, offset, ...(status === "all" ? {} : { status: status as "open" }) },
    topics: ["job"],
  });
  return (
    <>
      <Heading title="Activity" about="In the order in which it is done." />
      {running.value.size > 0 && (
        <Section title="Running">
          <ul class="plain">
            {[...running.value].map(([id, news]) => <RunningRow key={id} videoId={id} title={news.data.title ?? id} />)}
          </ul>
        </Section>
      )}
      <Section title="Jobs">
        <Choices
          label="Which jobs"
          options={FILTERS.map(([value, name]) => [value || "all", name] as const)}
          chosen={status}
          href={(value) => address.with({ status: value === "open" ? "" : value })}
        />
        <Shown of={jobs}>
          {(page) => (
            <>
              {page.jobs.length
                ? (
                  <ul class="plain">
                    {page.jobs.map((job) => (
                      <div class="job-row" key={job.job_id}>
                        <JobCard job={job} />
                        <div class="actions">
                          <JobActions job={job} />
                        </div>
                      </div>
                    ))}
                  </ul>
                )
                : (
                  <Empty title={status === "open" ? "Nothing waits and nothing runs" : "No such jobs"}>
                    <p>
                      <a href="/add">Add something</a>, or look at <a href="/activity?status=all">all jobs</a>.
                    </p>
                  </Empty>
                )}
              <Pager offset={offset} limit={LIMIT} total={page.total} href={(at) => address.with({ offset: at })} />
            </>
          )}
        </Shown>
      </Section>
    </>
  );
}
