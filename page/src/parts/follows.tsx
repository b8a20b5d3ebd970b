/** Follows, as several pages show them: their state, what can be done with one, and the form of their rules. */
import type { ComponentChildren } from "preact";
import { useEffect, useId, useState } from "preact/hooks";
import type { Follow, NewJobOptions, Rules, RulesTrial, Tried } from "../data/api.ts";
import { order, Problem } from "../data/client.ts";
import {
  KINDS,
  lengthText,
  nameOf,
  rulesIn,
  rulesOf,
  secondsIn,
  stateOf,
  sumOf,
  trialSentence,
} from "../data/follows.ts";
import { clock, count } from "../data/units.ts";
import { announce, toast } from "./announcer.tsx";
import { PartsBar } from "./bars.tsx";
import { Act, Confirm, Notice, Table, Tag } from "./basics.tsx";
import { CaptionField, Check, chosenQuality, QualityFields, USUAL } from "./wishes.tsx";

/** What may change what is shown of follows. */
export const FOLLOW_NEWS = ["follow", "job"];
export const SOON = 2_000; // ms: a look that runs may be over before its news is told

export function FollowState({ follow }: { follow: Follow }) {
  const [, tick] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => tick((before) => before + 1), 10_000);
    return () => clearInterval(timer);
  }, []);
  const [text, kind] = stateOf(follow);
  return (
    <>
      <Tag kind={kind}>{text}</Tag>
      {!!follow.failures && <Tag kind="bad">failed {count(follow.failures, "time")}</Tag>}
    </>
  );
}

/** What can be done with a follow. `removed` is called when it is followed no more. */
export function FollowActions({ follow, done, removed }: {
  follow: Follow;
  done: () => void;
  removed: () => void;
}) {
  const path = { follow_id: follow.follow_id };
  const name = nameOf(follow);
  const set = (paused: boolean) =>
    order("PATCH /api/v1/follows/{follow_id}", { path, body: { paused } }).then(() => {
      announce(`${name} is ${paused ? "paused" : "looked at again"}.`);
      done();
    });
  return (
    <>
      <Act
        busy="Asking for a look…"
        disabled={follow.looking}
        act={() =>
          order("POST /api/v1/follows/{follow_id}/look", { path }).then(() => {
            announce(`${name} is looked at now.`);
            done();
          })}
      >
        {follow.looking ? "Looking now…" : "Look now"}
      </Act>
      {follow.paused
        ? <Act key="resume" act={() => set(false)}>Resume</Act>
        : <Act key="pause" act={() => set(true)}>Pause</Act>}
      <Confirm
        title={`Stop following ${name}?`}
        ask={<p>It is not looked at any more, and its rules are gone. What was saved stays.</p>}
        confirm="Stop following it"
        act={() =>
          order("DELETE /api/v1/follows/{follow_id}", { path }).then(() => {
            toast(`${name} is not followed any more. What was saved stays.`);
            removed();
          })}
      >
        Stop following
      </Confirm>
    </>
  );
}

// --- the form -----------------------------------------------------------------------------------------------------

interface Asked {
  target: string;
  rules: Rules;
  options: NewJobOptions;
  every: number | null;
  last: number | null;
  metadataOnly: boolean;
}

/** The form of a new follow, or of one that is changed. `target`: what a new one begins with. */
export function FollowForm({ follow, target = "", done }: {
  follow?: Follow;
  target?: string;
  done: (follow: Follow) => void;
}) {
  const id = useId();
  const [busy, setBusy] = useState<"" | "send" | "try">("");
  const [problem, setProblem] = useState<Error | null>(null);
  const [trial, setTrial] = useState<RulesTrial | null>(null);
  const [stale, setStale] = useState(false);
  const options = (follow?.options ?? {}) as NewJobOptions;
  const rules = follow ? rulesOf(follow) : {};

  const asked = (form: HTMLFormElement): Asked => {
    const fields = new FormData(form);
    const value = (name: string) => String(fields.get(name) ?? "").trim();
    const languages = value("captions").split(/[\s,]+/).filter(Boolean);
    const wanted = rulesIn(value, fields.getAll("kinds").map(String));
    return {
      target: follow?.target ?? value("target"),
      rules: wanted,
      options: {
        ...options,
        quality: chosenQuality(value),
        include_captions: value("captions-on") !== "",
        ...(languages.length ? { caption_languages: languages } : {}),
        rules: wanted,
      },
      every: value("every") ? secondsIn(value("every")) : null,
      last: value("last") ? Number(value("last")) : null,
      metadataOnly: value("metadata") !== "",
    };
  };
  const run = async (what: "send" | "try", form: HTMLFormElement) => {
    setBusy(what);
    setProblem(null);
    try {
      const wish = asked(form);
      if (what === "send") done(await send(follow, wish));
      else {
        const { target, rules } = wish;
        const found = await order("POST /api/v1/metadata/rules/try", { body: { target, rules } });
        setTrial(found);
        setStale(false);
        announce(trialSentence(found));
      }
    } catch (error) {
      setProblem(error instanceof Error ? error : new Error(String(error)));
    } finally {
      setBusy("");
    }
  };
  return (
    <form
      class="wishes"
      onSubmit={(event) => {
        event.preventDefault();
        void run("send", event.currentTarget);
      }}
      onInput={() => setStale(true)}
    >
      {!follow && (
        <>
          <label for={`${id}t`}>Follow a channel or playlist</label>
          <input
            id={`${id}t`}
            name="target"
            type="text"
            inputMode="url"
            required
            autocomplete="off"
            autocapitalize="off"
            spellcheck={false}
            placeholder="https://www.youtube.com/@…"
            defaultValue={target}
          />
          <p class="small">What is there now is saved, and what comes. Try the rules first to see what that is.</p>
        </>
      )}
      <details class="fields" open={follow !== undefined}>
        <summary>Which of its videos</summary>
        <RuleFields rules={rules} last={!follow} />
      </details>
      <details class="fields" open={follow !== undefined}>
        <summary>Quality, captions, and how often it is looked at</summary>
        <div class="field-grid">
          <QualityFields chosen={options.quality ?? USUAL} />
          <CaptionField chosen={options.caption_languages?.join(", ") ?? "en"} />
          <TextField
            name="every"
            label="Look every"
            placeholder="by its own rhythm"
            value={lengthText(follow?.every_seconds)}
            hint="As 30m or 12h. Empty: more often the more often something comes."
          />
        </div>
        <div class="wishes-row checks">
          <Check name="captions-on" on={options.include_captions ?? true}>Save captions</Check>
          {!follow && <Check name="metadata" on={false}>Only metadata, no media</Check>}
        </div>
      </details>
      {follow && (
        <p class="small">
          Other rules let the next look read the whole list again: what they take now is fetched, what is saved stays.
        </p>
      )}
      {problem && <Refused problem={problem} />}
      <div class="actions">
        <button type="submit" class="primary" disabled={busy !== ""}>
          {busy === "send" ? (follow ? "Being changed…" : "Being followed…") : follow ? "Save the changes" : "Follow"}
        </button>
        <button
          type="button"
          disabled={busy !== ""}
          onClick={(event) => {
            const form = event.currentTarget.form;
            if (form?.reportValidity()) void run("try", form);
          }}
        >
          {busy === "try" ? "Looking at the newest hundred…" : "Try the rules"}
        </button>
        <span class="small">Trying saves nothing.</span>
      </div>
      {trial && <Trial trial={trial} stale={stale} />}
    </form>
  );
}

function send(follow: Follow | undefined, wish: Asked): Promise<Follow> {
  const { target, options, every, last, metadataOnly } = wish;
  if (!follow) {
    const type = metadataOnly ? "metadata_only" : "playlist_download";
    return order("POST /api/v1/follows", { body: { target, type, options, every_seconds: every, last } });
  }
  return order("PATCH /api/v1/follows/{follow_id}", {
    path: { follow_id: follow.follow_id },
    body: { options, every_seconds: every ?? 0 },
  });
}

function Refused({ problem }: { problem: Error }) {
  const known = problem instanceof Problem ? problem.details?.follow_id : undefined;
  return (
    <div class="notice bad" role="alert">
      <p>{problem.message}</p>
      {typeof known === "string" && <a href={`/follow/${encodeURIComponent(known)}`}>Show that follow</a>}
    </div>
  );
}

function RuleFields({ rules, last }: { rules: Rules; last: boolean }) {
  const rare = rules.description_include ?? rules.description_exclude ?? rules.min_views ?? rules.max_views ??
    rules.members_only ?? rules.languages?.[0];
  return (
    <div class="rule-fields">
      <fieldset>
        <legend>Only these kinds</legend>
        <div class="wishes-row checks">
          {KINDS.map(([kind, name]) => (
            <Check key={kind} name="kinds" value={kind} on={rules.kinds?.includes(kind) ?? false}>{name}</Check>
          ))}
        </div>
        <p class="small">None chosen: all kinds.</p>
      </fieldset>
      <div class="field-grid">
        <TextField
          name="title_include"
          label="Only titles that match"
          value={rules.title_include}
          placeholder="lecture|talk"
          hint="A word or a regular expression; capitals do not matter."
        />
        <TextField
          name="title_exclude"
          label="No titles that match"
          value={rules.title_exclude}
          placeholder="trailer|teaser"
          hint="A word or a regular expression; capitals do not matter."
        />
        <TextField
          name="min_length"
          label="At least this long"
          value={lengthText(rules.min_length)}
          placeholder="2m"
          hint="As 90s, 2m or 1h30m."
        />
        <TextField
          name="max_length"
          label="At most this long"
          value={lengthText(rules.max_length)}
          placeholder="3h"
          hint="As 90s, 2m or 1h30m."
        />
        <TextField name="since" label="Published since" type="date" value={rules.since} hint="That day, or later." />
        {last && (
          <TextField
            name="last"
            label="Of what is there now, only the newest"
            type="number"
            placeholder="all"
            hint="A number of videos. What comes later is not limited."
          />
        )}
      </div>
      <details class="fields" open={rare != null}>
        <summary>Rarer rules: description, views, members, language</summary>
        <div class="field-grid">
          <TextField
            name="description_include"
            label="Only descriptions that match"
            value={rules.description_include}
            hint="A word or a regular expression. No list tells it: each video is looked at."
          />
          <TextField
            name="description_exclude"
            label="No descriptions that match"
            value={rules.description_exclude}
            hint="A word or a regular expression. No list tells it: each video is looked at."
          />
          <TextField
            name="min_views"
            label="Seen at least so often"
            value={rules.min_views}
            hint="Views when the video is found."
          />
          <TextField
            name="max_views"
            label="Seen at most so often"
            value={rules.max_views}
            hint="Views when the video is found."
          />
          <MembersField chosen={rules.members_only ?? ""} />
          <TextField
            name="languages"
            label="Only these languages"
            value={rules.languages?.join(", ")}
            placeholder="en, pt-BR"
            hint="Language codes of what is spoken; pt includes pt-BR."
          />
        </div>
      </details>
    </div>
  );
}

function MembersField({ chosen }: { chosen: string }) {
  const id = useId();
  return (
    <div>
      <label for={id}>Videos for members of the channel</label>
      <select id={id} name="members_only">
        <option value="" selected={chosen === ""}>wanted too</option>
        <option value="exclude" selected={chosen === "exclude"}>not wanted</option>
        <option value="only" selected={chosen === "only"}>only these</option>
      </select>
    </div>
  );
}

const TYPES = {
  text: { type: "text" },
  date: { type: "date" },
  number: { type: "number", min: 1, max: 20_000 },
} as const;

function TextField({ name, label, value, placeholder, hint, type = "text" }: {
  name: string;
  label: string;
  value?: string | number | null | undefined;
  placeholder?: string;
  hint?: string;
  type?: keyof typeof TYPES;
}) {
  const id = useId();
  return (
    <div>
      <label for={id}>{label}</label>
      <input
        id={id}
        name={name}
        {...TYPES[type]}
        defaultValue={String(value ?? "")}
        placeholder={placeholder}
        spellcheck={false}
        autocomplete="off"
        autocapitalize="off"
        aria-describedby={hint ? `${id}h` : undefined}
      />
      {hint && <span class="small" id={`${id}h`}>{hint}</span>}
    </div>
  );
}

// --- what rules would do ------------------------------------------------------------------------------------------

const VERDICTS = { true: ["wanted", "live"], false: ["left out", "warn"], null: ["open", ""] } as const;

function Trial({ trial, stale }: { trial: RulesTrial; stale: boolean }) {
  const { wanted, leftOut, open } = sumOf(trial);
  return (
    <section class="trial" aria-label="What the rules would do">
      <h2>{trial.title || "What the rules would do"}</h2>
      {stale && <Notice kind="warn">Something was changed since. Try the rules again to see what they do now.</Notice>}
      <p>{trial.videos.length ? trialSentence(trial) : "It has no videos now."}</p>
      {trial.videos.length > 0 && (
        <>
          <PartsBar
            label={trialSentence(trial)}
            parts={[
              { name: "wanted", value: wanted, look: "accent", shown: wanted },
              { name: "left out", value: leftOut, look: "warn", shown: leftOut },
              { name: "open: decided when the video is fetched", value: open, look: "maybe", shown: open },
            ]}
          />
          <div class="at-most">
            <Table
              caption="What the rules would do with each video"
              head={["Video", "Length", "What becomes of it", "Why"]}
              class="tried found flows"
            >
              {trial.videos.map((video) => <TriedRow key={video.video_id} video={video} />)}
            </Table>
          </div>
        </>
      )}
    </section>
  );
}

function TriedRow({ video }: { video: Tried }) {
  const [text, kind] = VERDICTS[`${video.taken ?? null}`];
  return (
    <tr>
      <td>{video.title ?? video.video_id}</td>
      <td class="number" data-label="Length">
        {video.duration_seconds != null ? clock(video.duration_seconds) : ""}
      </td>
      <td>
        <Tag kind={kind}>{text}</Tag>
      </td>
      <td>{video.reason ?? (video.unknown ? `the list does not tell ${video.unknown}` : "")}</td>
    </tr>
  );
}

/** Rules in words, as a list. */
export function RuleList({ words }: { words: readonly string[] }): ComponentChildren {
  if (!words.length) return <p class="rules">No rules: all videos are wanted.</p>;
  return <ul class="rules">{words.map((text) => <li key={text}>{text}</li>)}</ul>;
}
