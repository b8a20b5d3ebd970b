/** `/add?t=`: what saving something would come to, before anything is fetched; and the button that begins it. */
import { useLocation } from "preact-iso";
import { useEffect, useId, useState } from "preact/hooks";
import type { NewJobOptions, PlanAnswer, PlannedVideo, PlanStep } from "../data/api.ts";
import { order, Problem, urlOf } from "../data/client.ts";
import { messagesOf } from "../data/stream.ts";
import { bookmarklet, sharedTargets, targetsIn } from "../data/targets.ts";
import { bytes, clock, count, span } from "../data/units.ts";
import { toast } from "../parts/announcer.tsx";
import { type Address, useAddress } from "../parts/address.ts";
import { PartsBar } from "../parts/bars.tsx";
import { Act, Bar, Figure, Heading, Notice, Section, Table, Tag, Trouble } from "../parts/basics.tsx";
import { goneReason } from "../parts/jobs.tsx";
import { watchUrl } from "../parts/videos.tsx";
import { CaptionField, Check, chosenQuality, QualityFields, USUAL } from "../parts/wishes.tsx";

const LONGEST = 6_000; // characters of targets that can be looked at in advance

export function Add() {
  const address = useAddress();
  const targets = sharedTargets(address.get);
  const text = targets.join("\n");
  return (
    <>
      <Heading title="Add" about="First you see what it would come to. Nothing is fetched before you say so." />
      <Wishes key={text} address={address} targets={targets} />
      {targets.length > 0 ? <Preview address={address} targets={targets} /> : <Hints />}
    </>
  );
}

/** The form. What is chosen goes into the address, and the plan follows the address. */
function Wishes({ address, targets }: { address: Address; targets: readonly string[] }) {
  const id = useId();
  const quality = address.get("quality") || USUAL;
  const submit = (form: HTMLFormElement) => {
    const fields = new FormData(form);
    const value = (name: string) => String(fields.get(name) ?? "").trim();
    const chosen = chosenQuality(value);
    address.go({
      t: targetsIn(value("t")).join("\n"),
      quality: chosen === USUAL ? "" : chosen,
      captions: value("captions-on") ? (value("captions") === "en" ? "" : value("captions")) : "none",
      metadata: value("metadata"),
      force: value("force"),
      text: "",
      url: "",
      title: "",
    });
  };
  return (
    <form
      class="wishes"
      onSubmit={(event) => {
        event.preventDefault();
        submit(event.currentTarget);
      }}
      onChange={(event) => {
        const changed = event.target as HTMLInputElement;
        if (targets.length && changed.name !== "t" && changed.value !== "own") submit(event.currentTarget);
      }}
    >
      <label for={`${id}t`}>Videos, playlists or channels, one per line</label>
      <textarea
        id={`${id}t`}
        name="t"
        rows={Math.min(8, Math.max(2, targets.length))}
        required
        spellcheck={false}
        autocapitalize="off"
        placeholder="https://www.youtube.com/playlist?list=…"
        defaultValue={targets.join("\n")}
        onKeyDown={(event) => {
          if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) event.currentTarget.form?.requestSubmit();
        }}
      />
      <div class="wishes-row">
        <QualityFields chosen={quality} />
        <CaptionField
          chosen={["", "none"].includes(address.get("captions")) ? "en" : address.get("captions")}
        />
      </div>
      <div class="wishes-row checks">
        <Check name="captions-on" on={address.get("captions") !== "none"}>Save captions</Check>
        <Check name="metadata" on={address.get("metadata") !== ""}>Only metadata, no media</Check>
        <Check name="force" on={address.get("force") !== ""}>Fetch again what is held</Check>
      </div>
      <div>
        <button type="submit" class={targets.length ? "" : "primary"}>
          {targets.length ? "Look again" : "Look"}
        </button>
      </div>
    </form>
  );
}

interface Planning {
  step?: PlanStep;
  found?: PlanAnswer;
  problem?: Problem;
}

function usePlan(url: string | null, round: number): Planning {
  const [state, setState] = useState<Planning>({});
  useEffect(() => {
    setState({});
    if (url === null) return;
    const aborter = new AbortController();
    const follow = async () => {
      for await (const message of messagesOf(url, aborter.signal)) {
        const data = JSON.parse(message.data);
        if (message.event === "step") setState({ step: data });
        if (message.event === "plan") return setState({ found: data });
        if (message.event === "problem") throw new Problem(data.message, 200, data.code, data.details);
      }
      throw new Problem("The plan was interrupted. YTArchive may have been stopped.", 0, "E006", null);
    };
    follow().catch((error) => {
      if (aborter.signal.aborted) return;
      setState({ problem: error instanceof Problem ? error : new Problem(String(error), 0, "E999", null) });
    });
    return () => aborter.abort();
  }, [url, round]);
  return state;
}

function Preview({ address, targets }: { address: Address; targets: readonly string[] }) {
  const { route } = useLocation();
  const [round, setRound] = useState(0);
  const text = targets.join(" ");
  const captions = address.get("captions");
  const metadataOnly = address.get("metadata") !== "";
  const force = address.get("force") !== "";
  const url = text.length > LONGEST ? null : urlOf("/api/v1/plan", {}, {
    targets: text,
    quality: address.get("quality"),
    captions,
    metadata_only: metadataOnly || undefined,
    force: force || undefined,
  });
  const { step, found, problem } = usePlan(url, round);
  const begin = async () => {
    const options: NewJobOptions = {
      quality: address.get("quality") || USUAL,
      include_captions: captions !== "none",
      skip_existing: !force,
    };
    if (captions && captions !== "none") options.caption_languages = captions.split(",").map((one) => one.trim());
    const job = await order("POST /api/v1/jobs", {
      body: { targets: [...targets], type: metadataOnly ? "metadata_only" : "playlist_download", options },
    });
    toast("The job is created.");
    route(`/j/${job.job_id}`);
  };
  if (problem) {
    const again = problem.status === 400 ? {} : { retry: () => setRound((before) => before + 1) };
    return <Trouble problem={problem} {...again} />;
  }
  return (
    <section aria-label="What it comes to" class="section" aria-busy={url !== null && !found ? "true" : undefined}>
      {found && <Summary found={found} />}
      <div class="begin">
        <Act act={begin} kind="primary" busy="The job is being created…">{beginText(found, metadataOnly)}</Act>
        {!found && <Waiting step={step} many={url === null} />}
      </div>
      {found && <Details found={found} />}
    </section>
  );
}

function beginText(found: PlanAnswer | undefined, metadataOnly: boolean): string {
  if (!found) return "Save it without waiting for the plan";
  const videos = found.plan.estimate.to_fetch;
  if (!videos) return "Begin all the same";
  return metadataOnly ? `Save the metadata of ${count(videos, "video")}` : `Save ${count(videos, "video")}`;
}

function Waiting({ step, many }: { step: PlanStep | undefined; many: boolean }) {
  if (many) return <p>So many targets are not looked at in advance. `ytarchive plan --batch FILE` does that.</p>;
  const read = step?.read != null && step.total
    ? `${step.read.toLocaleString("en")} of ${step.total.toLocaleString("en")} read`
    : "";
  return (
    <div class="planning">
      <p role="status">{step ? `${step.text}…` : "Asking YouTube what this is…"} {read}</p>
      <Bar
        value={step?.read != null && step.total ? step.read : undefined}
        max={step?.total || 1}
        label={read || "Reading the lists"}
      />
    </div>
  );
}

function Summary({ found }: { found: PlanAnswer }) {
  const { plan } = found;
  const { estimate } = plan;
  return (
    <>
      <div class="figures">
        <Figure value={estimate.to_fetch.toLocaleString("en")} label={estimate.to_fetch === 1 ? "video" : "videos"} />
        <Figure value={span(estimate.video_seconds)} label="to watch" />
        <Figure
          value={bytes(estimate.bytes.likely)}
          label={`${bytes(estimate.bytes.low)} – ${bytes(estimate.bytes.high)}`}
        />
        <Figure value={span(estimate.seconds.likely)} label="to fetch" />
        {estimate.quota_units != null && (
          <Figure
            value={estimate.quota_units.toLocaleString("en")}
            label={plan.quota_left != null
              ? `of ${plan.quota_left.toLocaleString("en")} units of quota`
              : "units of quota"}
          />
        )}
      </div>
      <Fits found={found} />
      {estimate.to_fetch === 0 && (
        <Notice kind="good">
          {estimate.held ? "Everything that can be had is held already." : "There is nothing that could be fetched."}
        </Notice>
      )}
      {plan.notes?.map((note) => <Notice key={note}>{note}</Notice>)}
      {plan.targets.filter((target) => target.error).map((target) => (
        <Notice key={target.id} kind="warn">
          {target.title ?? target.id}: {target.error?.message}
        </Notice>
      ))}
    </>
  );
}

function Fits({ found }: { found: PlanAnswer }) {
  const { estimate, min_free: reserve = 0, root } = found.plan;
  if (estimate.fits == null || !estimate.to_fetch) return null;
  if (estimate.fits) return null;
  return (
    <Notice kind={(estimate.free_after ?? 0) < reserve ? "bad" : "warn"}>
      {(estimate.free_after ?? 0) < reserve
        ? `It does not fit: ${bytes(estimate.free_bytes)} are free in ${root}, of which ${bytes(reserve)} stay free.`
        : `It may not fit: ${bytes(estimate.free_bytes)} are free in ${root}.`}{" "}
      Make room, choose a lower quality, or take less at once. When the disk is full, jobs wait, and nothing is lost.
    </Notice>
  );
}

function Details({ found }: { found: PlanAnswer }) {
  const { plan } = found;
  const { estimate } = plan;
  const numbers = (value: number) => value.toLocaleString("en");
  const free = estimate.free_bytes;
  return (
    <>
      <Section title="What of it">
        <PartsBar
          label={`Of ${
            count(estimate.videos, "video")
          }, ${estimate.to_fetch} are to be fetched, ${estimate.held} are held, ${estimate.gone} are gone`}
          parts={[
            { name: "to fetch", value: estimate.to_fetch, look: "accent", shown: numbers(estimate.to_fetch) },
            { name: "held already", value: estimate.held, look: "good", shown: numbers(estimate.held) },
            { name: "known to be gone", value: estimate.gone, look: "bad", shown: numbers(estimate.gone) },
          ]}
        />
        {estimate.unknown_lengths > 0 && (
          <p class="small">
            The length of {count(estimate.unknown_lengths, "video")} is not known; a usual one is assumed.
          </p>
        )}
        {free != null && estimate.to_fetch > 0 && (
          <PartsBar
            label={`Of ${bytes(free)} of free space, this takes about ${bytes(estimate.bytes.likely)}`}
            parts={[
              {
                name: "this takes",
                value: Math.min(free, estimate.bytes.likely),
                look: "accent",
                shown: bytes(estimate.bytes.likely),
              },
              {
                name: "at most also",
                value: Math.max(0, Math.min(free, estimate.bytes.high) - estimate.bytes.likely),
                look: "maybe",
                shown: bytes(estimate.bytes.high - estimate.bytes.likely),
              },
              {
                name: "stays free",
                value: Math.max(0, free - estimate.bytes.high),
                look: "free",
                shown: bytes(Math.max(0, free - estimate.bytes.high)),
              },
            ]}
          />
        )}
        <p class="small">
          {estimate.learned ? "Sizes are those of your archive." : "Sizes are usual ones: your archive has none yet."}
          {" "}
          {estimate.measured ? "Times are those of earlier downloads." : "Times are guessed."} It is saved in{" "}
          {plan.root}.
        </p>
      </Section>
      {plan.targets.length > 1 && (
        <Section title="Where they are from">
          <Table caption="The targets" class="totals" head={["Target", "Videos"]}>
            {plan.targets.map((target) => (
              <tr key={`${target.kind}${target.id}`}>
                <td>{target.title ?? (target.id || "Single videos")}</td>
                <td class="number">{target.error ? "not listed" : numbers(target.videos ?? 0)}</td>
              </tr>
            ))}
          </Table>
        </Section>
      )}
      <Section title="Videos">
        <Videos videos={found.videos} />
        {found.left_out > 0 && <p class="small">And {count(found.left_out, "more video")}, which are not shown.</p>}
      </Section>
    </>
  );
}

function Videos({ videos }: { videos: readonly PlannedVideo[] }) {
  return (
    <Table caption="The videos" head={["Video", "Length", "What happens"]} class="planned flows">
      {videos.map((video) => (
        <tr key={video.video_id}>
          <td>
            {video.state === "held"
              ? <a href={watchUrl(video.video_id)}>{video.title ?? video.video_id}</a>
              : video.title ?? video.video_id}
          </td>
          <td class="number" data-label="Length">{video.seconds ? clock(video.seconds) : ""}</td>
          <td>
            {video.state === "fetch"
              ? <Tag kind="live">is fetched</Tag>
              : video.state === "held"
              ? <Tag kind="good">held already</Tag>
              : <Tag kind="warn">{goneReason(video.reason ?? "")}</Tag>}
          </td>
        </tr>
      ))}
    </Table>
  );
}

/** What else leads here. */
function Hints() {
  const script = bookmarklet(globalThis.location.origin);
  return (
    <Section title="Quicker ways">
      <ul class="hints">
        <li>
          Paste an address of YouTube on any page here (<kbd>Ctrl</kbd> <kbd>V</kbd>).
        </li>
        <li>
          On a phone: add this page to the home screen, then share a video to YTArchive from the app of YouTube. The
          page must be reached by https for that.
        </li>
        <li>
          In a browser: make a bookmark with this as its address. On a page of YouTube it leads here.
          <div class="copy">
            <input type="text" readOnly value={script} aria-label="The address of the bookmark" />
            <Act act={() => navigator.clipboard.writeText(script).then(() => toast("Copied."))}>Copy</Act>
          </div>
        </li>
        <li>
          In a terminal: <code>ytarchive download ADDRESS</code>.
        </li>
      </ul>
    </Section>
  );
}
