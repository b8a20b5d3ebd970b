/** Small parts that every page uses. */
import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef, useState } from "preact/hooks";
import type { Problem } from "../data/client.ts";
import type { Reading } from "../data/read.ts";
import { fromNow, moment } from "../data/units.ts";

/** The heading of a page, with what can be done on it. Sets the title of the window. */
export function Heading(
  { title, children, about }: { title: string; about?: ComponentChildren; children?: ComponentChildren },
) {
  useEffect(() => {
    document.title = `${title} · YTArchive`;
  }, [title]);
  return (
    <header class="heading">
      <div>
        <h1>{title}</h1>
        {about && <p class="about">{about}</p>}
      </div>
      {children && <div class="actions">{children}</div>}
    </header>
  );
}

export function Section(
  { title, children, more }: { title: string; children: ComponentChildren; more?: ComponentChildren },
) {
  const id = useId();
  return (
    <section aria-labelledby={id} class="section">
      <div class="section-head">
        <h2 id={id}>{title}</h2>
        {more}
      </div>
      {children}
    </section>
  );
}

/** What is shown of a reading before it has data: words for waiting, or what went wrong and what to do. */
export function Shown<T>({ of, children, waiting = "Reading…" }: {
  of: Reading<T>;
  children: (data: T) => ComponentChildren;
  waiting?: string;
}) {
  if (of.data === undefined) {
    return of.problem
      ? <Trouble problem={of.problem} retry={of.reload} />
      : <p class="waiting" aria-busy="true">{waiting}</p>;
  }
  return (
    <>
      {of.problem && <Trouble problem={of.problem} retry={of.reload} />}
      {children(of.data)}
    </>
  );
}

export function Trouble({ problem, retry }: { problem: Problem; retry?: () => void }) {
  return (
    <div class="notice bad" role="alert">
      <p>{problem.message}</p>
      {problem.code !== "E007" && problem.code !== "E006" && <p class="small">Error {problem.code}</p>}
      {retry && <button type="button" onClick={retry}>Try again</button>}
    </div>
  );
}

export function Notice(
  { kind = "info", children }: { kind?: "info" | "good" | "warn" | "bad"; children: ComponentChildren },
) {
  return <div class={`notice ${kind}`}>{children}</div>;
}

/** What a list says when it is empty: why, and how to fill it. */
export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <p class="empty-title">{title}</p>
      {children}
    </div>
  );
}

/** A bar with its value in words. `value` of `max`; unset: it is not known how far it is. */
export function Bar({ value, max = 100, label }: { value?: number; max?: number; label: string }) {
  return (
    <progress class="bar" max={max} aria-label={label} {...(value === undefined ? {} : { value })}>{label}</progress>
  );
}

/** A moment relative to now, exact on hover. */
export function When({ at }: { at: string | null | undefined }) {
  const [, tick] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => tick((before) => before + 1), 30_000);
    return () => clearInterval(timer);
  }, []);
  return at ? <time dateTime={at} title={moment(at)}>{fromNow(at)}</time> : null;
}

export function Tag({ kind = "", children, title }: { kind?: string; children: ComponentChildren; title?: string }) {
  return <span class={`tag ${kind}`} title={title}>{children}</span>;
}

/** A number with what it counts. */
export function Figure({ value, label, href }: { value: ComponentChildren; label: string; href?: string }) {
  const content = (
    <>
      <span class="figure-value">{value}</span>
      <span class="figure-label">{label}</span>
    </>
  );
  return href ? <a class="figure" href={href}>{content}</a> : <div class="figure">{content}</div>;
}

/** Rows of a name and a value. */
export function Facts(
  { rows }: { rows: readonly (readonly [string, ComponentChildren] | false | null | undefined)[] },
) {
  const shown = rows.filter((row): row is readonly [string, ComponentChildren] =>
    Boolean(row) && (row as [string, unknown])[1] != null
  );
  return (
    <dl class="facts">
      {shown.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

/** Links to the pages before and after; `total` counts all rows. */
export function Pager(
  { offset, limit, total, href }: { offset: number; limit: number; total: number; href: (offset: number) => string },
) {
  if (total <= limit && offset === 0) return null;
  const last = Math.min(offset + limit, total);
  return (
    <nav class="pager" aria-label="Pages">
      {offset > 0 && <a href={href(Math.max(0, offset - limit))} rel="prev">← Before</a>}
      <span>
        {total === 0 ? "0" : `${(offset + 1).toLocaleString("en")}–${last.toLocaleString("en")}`} of{" "}
        {total.toLocaleString("en")}
      </span>
      {last < total && <a href={href(offset + limit)} rel="next">Next →</a>}
    </nav>
  );
}

/** A button that works for a while: it says so, and shows what went wrong. */
export function Act({ children, act, kind = "", busy = "Working…", title, disabled = false }: {
  children: ComponentChildren;
  act: () => Promise<unknown>;
  kind?: string;
  busy?: string;
  title?: string;
  disabled?: boolean;
}) {
  const [state, setState] = useState<"ready" | "busy" | Error>("ready");
  const run = () => {
    setState("busy");
    act().then(() => setState("ready"), (error) => setState(error instanceof Error ? error : new Error(String(error))));
  };
  return (
    <span class="act">
      <button type="button" class={kind} disabled={disabled || state === "busy"} onClick={run} title={title}>
        {state === "busy" ? busy : children}
      </button>
      {state instanceof Error && <span class="act-error" role="alert">{state.message}</span>}
    </span>
  );
}

/** A question before something is removed or stopped. `ask` names what goes. */
export function Confirm({ children, title, ask, confirm, act, kind = "danger" }: {
  children: ComponentChildren;
  title: string;
  ask: ComponentChildren;
  confirm: string;
  act: () => Promise<unknown>;
  kind?: string;
}) {
  const dialog = useRef<HTMLDialogElement>(null);
  const heading = useId();
  const close = () => dialog.current?.close();
  return (
    <>
      <button type="button" class={kind} onClick={() => dialog.current?.showModal()}>{children}</button>
      <dialog ref={dialog} aria-labelledby={heading}>
        <h2 id={heading}>{title}</h2>
        <div>{ask}</div>
        <div class="dialog-actions">
          <button type="button" onClick={close}>Keep</button>
          <Act kind={kind} act={() => act().then(close)}>{confirm}</Act>
        </div>
      </dialog>
    </>
  );
}

/** A table with a caption for those who cannot see what is around it. */
export function Table({ caption, head, children, class: name = "" }: {
  caption: string;
  head: readonly ComponentChildren[];
  children: ComponentChildren;
  class?: string;
}) {
  return (
    <div class="table-wrap" tabIndex={0} role="region" aria-label={caption}>
      <table class={name}>
        <caption class="unseen">{caption}</caption>
        <thead>
          <tr>{head.map((cell, index) => <th scope="col" key={index}>{cell}</th>)}</tr>
        </thead>
        <tbody>{children}</tbody>
      </table>
    </div>
  );
}

/** Choices as buttons, one of which is on; each is a link, so that the choice is in the address. */
export function Choices({ label, options, chosen, href }: {
  label: string;
  options: readonly (readonly [string, string])[];
  chosen: string;
  href: (value: string) => string;
}) {
  return (
    <nav class="choices" aria-label={label}>
      {options.map(([value, name]) => (
        <a key={value} href={href(value)} aria-current={value === chosen ? "true" : undefined}>{name}</a>
      ))}
    </nav>
  );
}
