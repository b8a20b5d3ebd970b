/** `/follow/{id}`: one follow: when it is looked at, its rules, what was found, and what they left out and why. */
import { useLocation } from "preact-iso";
import { useRef, useState } from "preact/hooks";
import type { Follow, FollowVideo, FollowVideoState, NewJobOptions } from "../data/api.ts";
import { order, read } from "../data/client.ts";
import { FOUND, intervalOf, nameOf, placesOf, rulesInWords, rulesOf } from "../data/follows.ts";
import type { News } from "../data/live.ts";
import { useReading } from "../data/read.ts";
import { timeOf } from "../data/units.ts";
import { toast } from "../parts/announcer.tsx";
import { type Address, useAddress } from "../parts/address.ts";
import {
  Act,
  Choices,
  Empty,
  Facts,
  Figure,
  Heading,
  Notice,
  Pager,
  Section,
  Shown,
  Table,
  Tag,
  When,
} from "../parts/basics.tsx";
import { FOLLOW_NEWS, FollowActions, FollowForm, FollowState, RuleList, SOON } from "../parts/follows.tsx";
import { watchUrl } from "../parts/videos.tsx";

const LIMIT = 100;
const HOW = { feed: "its feed", list: "its list" };

export function FollowPage({ id }: { id: string }) {
  const { route } = useLocation();
  const address = useAddress();
  const path = { follow_id: id };
  const follow = useReading(
    id,
    (signal) => read("/api/v1/follows/{follow_id}", { path }, signal),
    FOLLOW_NEWS,
    (news: News) => news.data.follow_id === id || String(news.data.job_id ?? "").startsWith(`follow-${id}-`),
    (one) => one.looking ? SOON : undefined,
  );
  if (follow.problem?.status === 404) return <Gone />;
  return (
    <Shown of={follow} waiting="Reading the follow…">
      {(one) => (
        <>
          <Heading
            title={nameOf(one)}
            about={
              <span class="state">
                <FollowState follow={one} />
              </span>
            }
          >
            <FollowActions follow={one} done={follow.reload} removed={() => route("/follow")} />
          </Heading>
          <Problems follow={one} />
          <Counts follow={one} address={address} />
          <div class="two-columns">
            <Section title="When it is looked at">
              <Looks follow={one} />
            </Section>
            <Section title="Which videos are wanted, and how">
              <RuleList words={rulesInWords(rulesOf(one))} />
              <Wanted follow={one} />
            </Section>
          </div>
          <Change follow={one} changed={follow.reload} />
          <Found follow={one} address={address} />
        </>
      )}
    </Shown>
  );
}

function Gone() {
  return (
    <>
      <Heading title="Not followed" />
      <Empty title="This is not followed, or not any more">
        <p>
          What it has saved stays. <a href="/follow">Show what is followed</a>
        </p>
      </Empty>
    </>
  );
}

function Problems({ follow }: { follow: Follow }) {
  return (
    <>
      {follow.error && (
        <Notice kind="bad">
          <p>The last look failed: {follow.error.message}</p>
          {!follow.paused && follow.next_look && (
            <p>It is tried again by itself, next at {timeOf(follow.next_look)}.</p>
          )}
        </Notice>
      )}
      {follow.paused && <Notice kind="warn">Paused by you. Nothing new is found until you resume it.</Notice>}
    </>
  );
}

function Counts({ follow, address }: { follow: Follow; address: Address }) {
  const shown = (state: string) => `${address.with({ state })}#found`;
  const { videos = 0, taken = 0, left_out: leftOut = 0 } = follow;
  const before = follow.last == null || follow.looking ? 0 : videos - taken - leftOut;
  return (
    <div class="figures">
      <Figure value={taken.toLocaleString("en")} label="wanted" href={shown("taken")} />
      <Figure value={leftOut.toLocaleString("en")} label="left out by its rules" href={shown("left_out")} />
      {before > 0 && <Figure value={before.toLocaleString("en")} label="older, not wanted" href={shown("before")} />}
      <Figure value={videos.toLocaleString("en")} label="found in all" href={shown("")} />
    </div>
  );
}

function Looks({ follow }: { follow: Follow }) {
  return (
    <Facts
      rows={[
        ["Target", <bdi key="t">{follow.target}</bdi>],
        ["Interval", intervalOf(follow)],
        !!follow.looked_at && [
          "Last look",
          <span key="l">
            <When at={follow.looked_at} />, by {HOW[follow.how ?? "list"]}
          </span>,
        ],
        !!follow.feed_problem && ["Feed", `not used at present, the list is: ${follow.feed_problem}`],
        !!follow.found_at && [
          "Found last",
          <span key="f">
            <bdi>{follow.found_title ?? "a video without a title"}</bdi>, <When at={follow.found_at} />
          </span>,
        ],
        !!follow.job_id && ["Last job", <a key="j" href={`/j/${follow.job_id}`}>what was fetched last</a>],
        ["In the library", <Places key="p" follow={follow} />],
        ["Followed", <When key="c" at={follow.created_at} />],
        ["Follow", follow.follow_id],
      ]}
    />
  );
}

function Wanted({ follow }: { follow: Follow }) {
  const { include_captions: captions, caption_languages: languages, quality } = follow.options;
  return (
    <Facts
      rows={[
        follow.last != null && ["At the first look", `only the newest ${follow.last.toLocaleString("en")}`],
        follow.type === "metadata_only" && ["What is saved", "metadata only, no media"],
        ["Quality", String(quality ?? "")],
        ["Captions", captions === false ? "none" : Array.isArray(languages) ? languages.join(", ") : ""],
        !!follow.priority && ["Priority of its jobs", String(follow.priority)],
        ["Saved in", follow.root],
      ]}
    />
  );
}

function Places({ follow }: { follow: Follow }) {
  const places = placesOf(follow);
  if (!places.length) return <>known after the first look</>;
  return (
    <span class="places-of">
      {places.map((place) => <a key={place.path} href={place.path}>{place.name}</a>)}
    </span>
  );
}

function Change({ follow, changed }: { follow: Follow; changed: () => void }) {
  const [open, setOpen] = useState(false);
  const summary = useRef<HTMLElement>(null);
  return (
    <details class="fields change" open={open} onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary ref={summary}>Change the rules, quality or interval</summary>
      {open && (
        <FollowForm
          follow={follow}
          done={(one) => {
            toast(`${nameOf(one)} is changed.`);
            setOpen(false);
            summary.current?.focus();
            changed();
          }}
        />
      )}
    </details>
  );
}

// --- what was found -----------------------------------------------------------------------------------------------

const STATES = [["", "All"], ["taken", "Wanted"], ["left_out", "Left out"], ["before", "Older"]] as const;

function Found({ follow, address }: { follow: Follow; address: Address }) {
  const offset = address.number("offset", 0);
  const state = address.get("state") in FOUND ? address.get("state") as FollowVideoState : undefined;
  const [jobs, setJobs] = useState<ReadonlyMap<string, string>>(new Map());
  const path = { follow_id: follow.follow_id };
  const query = { limit: LIMIT, offset, ...(state ? { state } : {}) };
  const videos = useReading( // read again whenever the numbers of the follow are others
    JSON.stringify([path, query, follow.looks, follow.looking, follow.videos, follow.taken, follow.left_out]),
    (signal) => read("/api/v1/follows/{follow_id}/videos", { path, query }, signal),
  );
  const ids = videos.data?.videos.map((video) => video.video_id) ?? [];
  const held = useReading(
    ids.length ? ids.join(" ") : null,
    () => order("POST /api/v1/storage/holdings", { body: { root: follow.root, video_ids: ids } }),
    ["video"],
  );
  const inArchive = new Set(
    held.data?.held.filter((one) => one.metadata || one.qualities?.length).map((one) => one.video_id),
  );
  const take = async (video: FollowVideo) => {
    const { rules: _, ...options } = follow.options as NewJobOptions;
    const job = await order("POST /api/v1/jobs", {
      body: { targets: [video.video_id], type: follow.type, options },
    });
    toast(`${video.title ?? video.video_id} is fetched.`);
    setJobs((before) => new Map(before).set(video.video_id, job.job_id));
  };
  return (
    <div id="found">
      <Section title="What was found, newest first">
        <Choices
          label="Which videos"
          options={STATES.filter(([name]) => name !== "before" || follow.last != null || state === name)}
          chosen={state ?? ""}
          href={(value) => address.with({ state: value })}
        />
        <Shown of={videos} waiting="Reading what was found…">
          {(page) =>
            page.videos.length
              ? (
                <>
                  <Table
                    caption="What was found"
                    head={["Video", "State", "Why", "Found", <span key="d" class="unseen">What can be done</span>]}
                    class="found flows"
                  >
                    {page.videos.map((video) => (
                      <Row
                        key={video.video_id}
                        video={video}
                        held={inArchive.has(video.video_id)}
                        job={jobs.get(video.video_id)}
                        take={() => take(video)}
                      />
                    ))}
                  </Table>
                  <Pager offset={offset} limit={LIMIT} total={page.total} href={(at) => address.with({ offset: at })} />
                </>
              )
              : <Nothing follow={follow} state={state} all={address.with({ state: "" })} />}
        </Shown>
      </Section>
    </div>
  );
}

function Row({ video, held, job, take }: {
  video: FollowVideo;
  held: boolean;
  job: string | undefined;
  take: () => Promise<void>;
}) {
  const title = video.title ?? video.video_id;
  const [text, kind] = FOUND[video.state];
  const jobId = job ?? video.job_id;
  return (
    <tr>
      <td>{held ? <a href={watchUrl(video.video_id)}>{title}</a> : title}</td>
      <td>
        <Tag kind={kind}>{text}</Tag> {held && <Tag kind="good">held</Tag>}
      </td>
      <td>{video.reason}</td>
      <td data-label="Found">
        <When at={video.found_at} />
      </td>
      <td>
        {jobId
          ? <a href={`/j/${jobId}`}>its job</a>
          : !held && (video.state === "left_out" || video.state === "before") && (
            <Act act={take} kind="slight" busy="A job is being created…">Take it</Act>
          )}
      </td>
    </tr>
  );
}

function Nothing({ follow, state, all }: { follow: Follow; state: FollowVideoState | undefined; all: string }) {
  if (state) {
    return (
      <Empty title={state === "left_out" ? "Nothing was left out" : "No video is in this state"}>
        <p>
          <a href={all}>Show all that was found</a>
        </p>
      </Empty>
    );
  }
  return (
    <Empty title={follow.looked_at ? "It has no videos yet" : "No look has been finished yet"}>
      <p>
        {follow.looking ? "It is looked at now. Videos appear here" : "Videos appear here"} as soon as a look is over.
      </p>
    </Empty>
  );
}
