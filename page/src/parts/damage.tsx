/** What a verification found, and what became of it. */
import type { FixityFinding, JobSummary } from "../data/api.ts";
import { FINDINGS } from "../data/fixity.ts";
import { bytes } from "../data/units.ts";
import { Table, Tag } from "./basics.tsx";
import { itemReason, ItemState, JobState } from "./jobs.tsx";
import { watchUrl } from "./videos.tsx";

/** The repair jobs by id; null: a job that is no longer kept. */
export type Repairs = ReadonlyMap<string, JobSummary | null>;

export function Damage({ findings, repairs }: { findings: readonly FixityFinding[]; repairs: Repairs | undefined }) {
  return (
    <Table caption="What the last verification found" head={["File", "What it is", "Repair"]}>
      {findings.map((one) => (
        <tr key={[one.root, one.video_id, one.name].join()}>
          <td>
            <a href={watchUrl(one.video_id)}>{one.video_id}</a>
            <br />
            <span class="small">{one.name}</span>
          </td>
          <td>
            <Tag kind={FINDINGS[one.kind].kind} title={FINDINGS[one.kind].about}>{FINDINGS[one.kind].name}</Tag>{" "}
            <Detail finding={one} />
          </td>
          <td>
            <Repair finding={one} repairs={repairs} />
          </td>
        </tr>
      ))}
    </Table>
  );
}

/** Digests are long: their beginnings, and all of it in the details. */
function Detail({ finding }: { finding: FixityFinding }) {
  const { expected_size, found_size, expected_sha256, found_sha256 } = finding;
  if (found_size != null && expected_size != null && found_size !== expected_size) {
    return <span>{bytes(found_size)} instead of {bytes(expected_size)}</span>;
  }
  if (!found_sha256) return <span>{FINDINGS[finding.kind].about}</span>;
  return (
    <details>
      <summary>{FINDINGS[finding.kind].about}</summary>
      <dl class="small">
        <dt>sha256 when it was saved</dt>
        <dd>
          <code>{expected_sha256}</code>
        </dd>
        <dt>sha256 now</dt>
        <dd>
          <code>{found_sha256}</code>
        </dd>
        {finding.set_aside && (
          <>
            <dt>Set aside</dt>
            <dd>
              <code>{finding.set_aside}</code>
            </dd>
          </>
        )}
      </dl>
    </details>
  );
}

function Repair({ finding, repairs }: { finding: FixityFinding; repairs: Repairs | undefined }) {
  if (finding.kind === "extra") return <span class="small">None is needed.</span>;
  if (!finding.job_id) return <span class="small">Not repaired: verify again, with repair.</span>;
  const link = <a href={`/j/${finding.job_id}`}>its job</a>;
  if (repairs === undefined) return <span class="small">Asking {link}…</span>;
  const summary = repairs.get(finding.job_id);
  if (!summary) return <span class="small">Its job has ended and is no longer kept.</span>;
  const item = summary.items.find((one) => one.video_id === finding.video_id);
  if (item?.status === "archived") {
    return (
      <>
        <Tag kind="good">repaired</Tag> by {link}
      </>
    );
  }
  if (item) {
    return (
      <>
        <ItemState item={item} /> {itemReason(item, summary.job)} See {link}.
      </>
    );
  }
  return (
    <>
      <JobState job={summary.job} /> See {link}.
    </>
  );
}
