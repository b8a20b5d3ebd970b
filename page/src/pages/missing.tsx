/** `/missing`: what could not be saved, why, and when it is looked at again. */
import { useState } from "preact/hooks";
import type { MissingPage, MissingRow } from "../data/api.ts";
import { order } from "../data/client.ts";
import { useRead } from "../data/read.ts";
import { count, moment } from "../data/units.ts";
import { toast } from "../parts/announcer.tsx";
import { type Address, useAddress } from "../parts/address.ts";
import { Act, Choices, Empty, Heading, Pager, Shown, Table, When } from "../parts/basics.tsx";
import { goneReason } from "../parts/jobs.tsx";
import { watchUrl } from "../parts/videos.tsx";

const LIMIT = 50;

export function Missing() {
  const address = useAddress();
  const offset = address.number("offset", 0);
  const resolved = address.get("show") === "resolved";
  const missing = useRead("/api/v1/storage/missing", {
    query: {
      limit: LIMIT,
      offset,
      reason: address.get("reason"),
      plan: address.get("plan"),
      q: address.get("q"),
      resolved,
    },
    topics: ["work_plan", "video"],
  });
  return (
    <>
      <Heading title="Missing" about="What could not be saved, why, and when it is looked at again." />
      <Shown of={missing} waiting="Reading the work plans…">
        {(page) => (
          <>
            <Filters page={page} address={address} resolved={resolved} />
            {page.videos.length
              ? <Rows key={address.with({})} page={page} resolved={resolved} />
              : <Nothing page={page} address={address} resolved={resolved} />}
            <Pager offset={offset} limit={LIMIT} total={page.total} href={(at) => address.with({ offset: at })} />
          </>
        )}
      </Shown>
    </>
  );
}

function Filters({ page, address, resolved }: { page: MissingPage; address: Address; resolved: boolean }) {
  const reason = address.get("reason");
  const reasons = page.reasons.map((one) =>
    [one.reason, `${goneReason(one.reason)} (${one.videos.toLocaleString("en")})`] as const
  );
  if (reason && !page.reasons.some((one) => one.reason === reason)) reasons.push([reason, `${goneReason(reason)} (0)`]);
  return (
    <div class="filters">
      <Choices
        label="Missing or found"
        options={[
          ["", `Missing (${page.open.toLocaleString("en")})`],
          ["resolved", `Saved since (${page.resolved.toLocaleString("en")})`],
        ]}
        chosen={resolved ? "resolved" : ""}
        href={(value) => address.with({ show: value, reason: "" })}
      />
      {(reasons.length > 1 || reason) && (
        <Choices
          label="Why"
          options={[["", "Any reason"], ...reasons]}
          chosen={reason}
          href={(value) => address.with({ reason: value })}
        />
      )}
      <form
        class="narrow"
        onSubmit={(event) => {
          event.preventDefault();
          address.go({ q: String(new FormData(event.currentTarget).get("q") ?? "").trim() });
        }}
      >
        <label class="unseen" for="missing-q">A part of the title, or the id</label>
        <input id="missing-q" name="q" type="search" placeholder="Title or id" defaultValue={address.get("q")} />
        <button type="submit">Filter</button>
      </form>
      {address.get("plan") && (
        <p>
          Only the work plan of <a href={`/j/${address.get("plan")}`}>one job</a>.{" "}
          <a href={address.with({ plan: "" })}>Show all</a>
        </p>
      )}
    </div>
  );
}

function Rows({ page, resolved }: { page: MissingPage; resolved: boolean }) {
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set());
  const key = (video: MissingRow) => `${video.root}/${video.video_id}`;
  const retriable = page.videos.filter((video) => !video.rechecked_by);
  const selected = retriable.filter((video) => chosen.has(key(video)));
  const choose = (video: MissingRow, on: boolean) => {
    const next = new Set(chosen);
    if (on) next.add(key(video));
    else next.delete(key(video));
    setChosen(next);
  };
  const every = selected.length > 0 && selected.length === retriable.length;
  return (
    <>
      {!resolved && (
        <div class="selection">
          <label class="check">
            <input
              type="checkbox"
              checked={every}
              onChange={(event) => setChosen(event.currentTarget.checked ? new Set(retriable.map(key)) : new Set())}
            />{" "}
            All on this page
          </label>
          <Act act={() => retry(selected).then(() => setChosen(new Set()))} kind={selected.length ? "primary" : ""}>
            {selected.length ? `Try ${count(selected.length, "video")} again now` : "Select what to try again"}
          </Act>
        </div>
      )}
      <Table
        caption={resolved ? "Videos that were saved since" : "Missing videos"}
        class="missing flows"
        head={resolved
          ? ["Video", "It was", "Missing since", "Saved"]
          : [<span key="s" class="unseen">Select</span>, "Video", "Why", "Looks", "Last look", "Next look"]}
      >
        {page.videos.map((video) =>
          resolved
            ? <ResolvedRow key={key(video)} video={video} />
            : <Row key={key(video)} video={video} on={chosen.has(key(video))} choose={choose} />
        )}
      </Table>
    </>
  );
}

function Row({ video, on, choose }: {
  video: MissingRow;
  on: boolean;
  choose: (video: MissingRow, on: boolean) => void;
}) {
  const title = video.title ?? video.video_id;
  return (
    <tr>
      <td>
        <input
          type="checkbox"
          checked={on}
          disabled={video.rechecked_by !== null}
          aria-label={`Select ${title}`}
          onChange={(event) => choose(video, event.currentTarget.checked)}
        />
      </td>
      <td>
        <span class="strong">{title}</span>
        <span class="small">
          {video.title && `${video.video_id} · `}
          <a href={`/j/${video.plans[0]}`}>its job</a>
          {video.playlist_id && (
            <>
              {" · "}
              <a href={`/p/${video.playlist_id}`}>its playlist</a>
            </>
          )}
        </span>
      </td>
      <td>
        <span class="strong">{goneReason(video.reason)}</span>
        {video.message && <span class="small">{video.message}</span>}
        {video.last_available && (
          <span class="small">
            last available <When at={video.last_available} />
          </span>
        )}
      </td>
      <td class="number" data-label="Looks">
        <span title={`first on ${moment(video.first_look)}`}>{video.looks.toLocaleString("en")}</span>
      </td>
      <td data-label="Last look">
        <When at={video.last_look} />
      </td>
      <td data-label="Next look">
        {video.rechecked_by
          ? <a href={`/j/${video.rechecked_by}`}>is looked at now</a>
          : video.next_look
          ? Date.parse(video.next_look) < Date.now() ? "in the next round" : <When at={video.next_look} />
          : "not by itself"}
      </td>
    </tr>
  );
}

function ResolvedRow({ video }: { video: MissingRow }) {
  return (
    <tr>
      <td>
        <a href={watchUrl(video.video_id)}>{video.title ?? video.video_id}</a>
      </td>
      <td>{goneReason(video.reason)}</td>
      <td data-label="Missing since">
        <When at={video.first_look} />
      </td>
      <td data-label="Saved">
        <When at={video.resolved_at} />
      </td>
    </tr>
  );
}

/** Each video is retried for the plan that has it last. */
async function retry(videos: readonly MissingRow[]): Promise<void> {
  if (!videos.length) throw new Error("Nothing is selected: tick the videos to try again.");
  const plans = new Map<string, string[]>();
  for (const video of videos) {
    const plan = video.plans[0];
    if (plan) plans.set(plan, [...(plans.get(plan) ?? []), video.video_id]);
  }
  for (const [plan, ids] of plans) {
    await order("POST /api/v1/storage/work-plans/{plan_id}/retry", {
      path: { plan_id: plan },
      body: { video_ids: ids },
    });
  }
  toast(`${count(videos.length, "video is", "videos are")} tried again.`);
}

function Nothing({ page, address, resolved }: { page: MissingPage; address: Address; resolved: boolean }) {
  const filtered = ["reason", "plan", "q"].some((name) => address.get(name));
  if (filtered) {
    return (
      <Empty title="Nothing matches">
        <p>
          <a href={address.with({ reason: "", plan: "", q: "" })}>Remove the filters</a>
        </p>
      </Empty>
    );
  }
  return resolved
    ? (
      <Empty title="Nothing was missing and came later">
        <p>A video that could not be saved and is saved later is listed here.</p>
      </Empty>
    )
    : (
      <Empty title={page.resolved ? "Nothing is missing any more" : "Nothing is missing"}>
        <p>A video that cannot be saved (private, deleted, blocked, failed) is listed here with its reason.</p>
      </Empty>
    );
}
