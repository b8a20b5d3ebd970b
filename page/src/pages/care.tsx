/** `/care`: when every byte was last read, damage and its repair, disks, growth. */
import type { Disk, FixityAges, Growth, VerificationPage, VerificationState } from "../data/api.ts";
import { order, read } from "../data/client.ts";
import { ageColumns, ageName, agesSentence, daysAgo, diskParts, forecast, share, timeColumns } from "../data/fixity.ts";
import { type Reading, useRead, useReading } from "../data/read.ts";
import { bytes, count, moment, span } from "../data/units.ts";
import { useAddress } from "../parts/address.ts";
import { announce, toast } from "../parts/announcer.tsx";
import { Act, Bar, Confirm, Figure, Heading, Notice, Pager, Section, Shown, Tag, When } from "../parts/basics.tsx";
import { Columns } from "../parts/plots.tsx";
import { Damage, type Repairs } from "../parts/damage.tsx";

const LIMIT = 50;

export function Care() {
  const address = useAddress();
  const offset = address.number("offset", 0);
  const ages = useRead("/api/v1/storage/fixity", { topics: ["fixity", "video"] });
  const verification = useVerification(offset);
  const growth = useRead("/api/v1/storage/growth", { topics: ["video"] });
  const gone = useRead("/api/v1/storage/videos", { query: { status: "gone", limit: 1 }, topics: ["video"] });
  const last = verification.data?.verification ?? null;
  return (
    <>
      <Heading title="Care" about={ages.data && agesSentence(ages.data)}>
        {last?.status !== "running" && ages.data && <Begin ages={ages.data} reload={verification.reload} />}
      </Heading>
      {last?.status === "running" && <Running of={last} reload={verification.reload} />}
      {!!gone.data?.total && (
        <p class="gone-sentence">
          <a href="/library?status=gone">
            {count(gone.data.total, "video")} here {gone.data.total === 1 ? "is" : "are"} no longer on YouTube.
          </a>
        </p>
      )}
      <Shown of={ages} waiting="Reading when every file was last verified…">
        {(found) => <Ages ages={found} damaged={last?.damaged ?? 0} />}
      </Shown>
      <Section title="Damage">
        <Shown of={verification} waiting="Reading the last verification…">
          {(page) => <Findings page={page} offset={offset} href={(at) => address.with({ offset: at })} />}
        </Shown>
      </Section>
      <Section title="Disks">
        <Shown of={growth} waiting="Reading the disks…">
          {({ disks }) => <ul class="plain">{disks.map((disk) => <DiskCard key={disk.roots.join()} disk={disk} />)}
          </ul>}
        </Shown>
      </Section>
      {growth.data && growth.data.saved.length > 0 && <GrowthPictures growth={growth.data} />}
    </>
  );
}

/** The last verification; while it runs it is read every second, because its bytes are no news of the bus. */
function useVerification(offset: number): Reading<VerificationPage> {
  return useReading(
    `verify/${offset}`,
    (signal) => read("/api/v1/storage/verify", { query: { limit: LIMIT, offset } }, signal),
    ["fixity", "job", "video"],
    () => true,
    (page) => page.verification?.status === "running" ? 1_000 : undefined,
  );
}

function Begin({ ages, reload }: { ages: FixityAges; reload: () => void }) {
  if (!ages.videos) return null;
  const begin = (repair: boolean) =>
    order("POST /api/v1/storage/verify", { body: { repair } }).then((begun) => {
      toast(`${count(begun.videos, "video")} (${bytes(begun.bytes)}) are read now.`);
      reload();
    });
  return (
    <Confirm
      title="Verify the whole archive?"
      ask={
        <>
          <p>
            All {bytes(ages.bytes)}{" "}
            are read and compared with the checksums of the day they were saved. It goes on in the background, and can
            be stopped.
          </p>
          <p>A damaged file is set aside, and downloaded again if YouTube still has it.</p>
        </>
      }
      confirm="Verify now"
      kind="primary"
      act={() => begin(true)}
    >
      Verify everything
    </Confirm>
  );
}

function Running({ of, reload }: { of: VerificationState; reload: () => void }) {
  const { progress } = of;
  const detail = [
    `${bytes(progress.current)} of ${bytes(progress.total)}`,
    progress.message,
    progress.speed_bps ? `${bytes(progress.speed_bps)}/s` : "",
    progress.eta_seconds != null ? `${span(progress.eta_seconds)} left` : "",
  ].filter(Boolean).join(" · ");
  return (
    <Notice>
      <p>
        <strong>{of.asked ? "A verification runs." : "The daily verification runs."}</strong>{" "}
        {of.damaged ? `${count(of.damaged, "damaged file")} so far.` : "No damage so far."}
      </p>
      <Bar value={progress.percentage} label={`Verification: ${detail}`} />
      <p class="small">{detail}</p>
      <Act
        busy="Stopping…"
        act={() =>
          order("DELETE /api/v1/storage/verify").then(() => {
            announce("The verification is stopped.");
            reload();
          })}
      >
        Stop
      </Act>
    </Notice>
  );
}

function Ages({ ages, damaged }: { ages: FixityAges; damaged: number }) {
  const overdue = ages.buckets.findIndex((bucket) => bucket.overdue);
  return (
    <Section title="When everything was last read">
      <div class="figures">
        <Figure value={bytes(ages.bytes)} label={`in ${count(ages.videos, "video")}`} />
        {ages.interval_days > 0 && (
          <Figure value={share(ages.within, ages.bytes)} label={`read within ${count(ages.interval_days, "day")}`} />
        )}
        {ages.oldest && <Figure value={daysAgo(ages.oldest)} label="is the oldest reading" />}
        <Figure value={damaged.toLocaleString("en")} label="damaged files, at the last verification" />
      </div>
      {ages.videos > 0 && (
        <Columns
          title="Bytes by the days since they were last read"
          columns={ageColumns(ages)}
          line={overdue > 0 ? { after: overdue, name: `${ages.interval_days} days` } : undefined}
          head={["Last read", "Videos", "Size"]}
          rows={ages.buckets.map((bucket) => [
            <span key="name">{ageName(bucket)} {bucket.overdue && <Tag kind="warn">overdue</Tag>}</span>,
            bucket.videos.toLocaleString("en"),
            bytes(bucket.bytes),
          ])}
        />
      )}
      <p class="small">
        {ages.next_round
          ? (
            <>
              The next daily round begins <When at={ages.next_round} />. What was read longest ago comes first.
            </>
          )
          : "Set [fixity] interval_days to have everything read again by itself."}
      </p>
    </Section>
  );
}

function Findings({ page, offset, href }: { page: VerificationPage; offset: number; href: (at: number) => string }) {
  const last = page.verification;
  const repairs = useRepairs(page);
  if (last === null) {
    return <p>Nothing was verified yet. The first daily round begins by itself, or verify everything now.</p>;
  }
  const when = last.ended_at
    ? `${last.asked ? "The verification you asked for" : "The daily verification"} of ${moment(last.ended_at)}`
    : "The verification that runs";
  return (
    <>
      {last.status === "failed" && <Notice kind="bad">{`The verification failed: ${last.error}`}</Notice>}
      {last.status === "stopped" && <Notice>It was stopped before its end.</Notice>}
      <p>
        {when} read {count(last.videos ?? 0, "video")} ({bytes(last.bytes)}) and found{" "}
        {last.damaged ? <strong>{count(last.damaged, "damaged file")}</strong> : "no damage"}
        {last.extra ? `, and ${count(last.extra, "file")} that no manifest lists` : ""}.
      </p>
      {page.findings.length > 0 && <Damage findings={page.findings} repairs={repairs} />}
      <Pager offset={offset} limit={LIMIT} total={page.total} href={href} />
    </>
  );
}

/** The jobs that download damaged files again, by id; null: it is no longer kept. */
function useRepairs(page: VerificationPage): Repairs | undefined {
  const ids = [...new Set(page.findings.flatMap((one) => one.job_id ? [one.job_id] : []))].sort();
  const found = useReading(
    ids.length ? ids.join() : null,
    async (signal) => {
      const summaries = await Promise.all(
        ids.map((job_id) =>
          read("/api/v1/jobs/{job_id}/summary", { path: { job_id } }, signal).catch((error) => {
            if (error.status === 404) return null;
            throw error;
          })
        ),
      );
      return new Map(ids.map((id, index) => [id, summaries[index] ?? null]));
    },
    ["job", "download", "video"],
  );
  return found.data;
}

function DiskCard({ disk }: { disk: Disk }) {
  const told = forecast(disk);
  const parts = diskParts(disk);
  let from = 0;
  return (
    <li class="disk">
      <p class="disk-name">{disk.roots.join(", ")}</p>
      {parts.length > 0 && (
        <>
          <svg
            class="disk-bar"
            width="100%"
            height="14"
            role="img"
            aria-label={parts.map((part) => `${part.name} ${bytes(part.bytes)}`).join(", ")}
          >
            {parts.map((part) => {
              const x = from;
              from += part.share;
              return (
                <rect
                  key={part.name}
                  class={`disk-${part.name.split(" ")[0]}`}
                  x={`${x * 100}%`}
                  width={`${part.share * 100}%`}
                  height="14"
                />
              );
            })}
          </svg>
          <ul class="disk-parts">
            {parts.map((part) => (
              <li key={part.name}>
                <span class={`disk-key disk-${part.name.split(" ")[0]}`} aria-hidden="true" />
                {part.name} {bytes(part.bytes)}
              </li>
            ))}
          </ul>
        </>
      )}
      <p class={told.kind === "bad" || told.kind === "warn" ? `why ${told.kind}` : ""}>{told.text}</p>
    </li>
  );
}

function GrowthPictures({ growth }: { growth: Growth }) {
  const picture = (title: string, totals: Growth["saved"]) => (
    <div>
      <h3>{title}</h3>
      <Columns title={title} columns={timeColumns(totals)} most={8} head={["Month", "Saved"]} />
    </div>
  );
  return (
    <Section title="Growth">
      <div class="pair">
        {picture("By the month in which it was saved", growth.saved)}
        {picture("By the month in which it was published", growth.made)}
      </div>
    </Section>
  );
}
