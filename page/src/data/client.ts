/** REST, typed by the generated `Reads` and `Orders`. Answers are ServiceResponse; errors are thrown as Problem. */
import type { ErrorDetail, Orders, Reads } from "./api.ts";

/** An error answer, or no answer at all. `message` says what happened and what to do. */
export class Problem extends Error {
  constructor(
    message: string,
    readonly status: number,
    readonly code: string,
    readonly details: ErrorDetail["details"],
  ) {
    super(message);
  }

  /** Whether the same request may succeed later without a change. */
  get passing(): boolean {
    return this.status === 0 || this.status === 503 || this.status === 429;
  }
}

type Values = Record<string, unknown>;
type Options<Shape extends { path: unknown; query: unknown }> = { path?: Shape["path"]; query?: Shape["query"] };

/** What an order must carry when the page needs a login, once it is known; see data/session.ts. */
export const orderToken = { value: "", known: Promise.resolve() };

export function read<P extends keyof Reads>(
  path: P,
  options: Options<Reads[P]> = {},
  signal?: AbortSignal,
): Promise<Reads[P]["answer"]> {
  return ask("GET", urlOf(path, options.path, options.query), undefined, signal) as Promise<Reads[P]["answer"]>;
}

export function order<O extends keyof Orders>(
  name: O,
  options: Options<Orders[O]> & { body?: Orders[O]["body"] } = {},
): Promise<Orders[O]["answer"]> {
  const [method, path] = name.split(" ") as [string, string];
  return ask(method, urlOf(path, options.path, options.query), options.body ?? {}) as Promise<Orders[O]["answer"]>;
}

/** Return a path with its parts and its query filled in. Unset values are left out. */
export function urlOf(path: string, parts: Values = {}, query: Values = {}): string {
  const filled = path.replace(/\{(\w+)\}/g, (_, name: string) => {
    const value = String(parts[name]);
    return name === "name" ? value.split("/").map(encodeURIComponent).join("/") : encodeURIComponent(value);
  });
  const search = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) {
    if (value !== undefined && value !== null && value !== "") search.set(key, String(value));
  }
  return search.size ? `${filled}?${search}` : filled;
}

/** The address of a file of the archive. */
export function fileUrl(videoId: string, name: string, root?: string): string {
  return urlOf("/api/v1/storage/videos/{video_id}/files/{name}", { video_id: videoId, name }, { root });
}

async function ask(method: string, url: string, body: unknown, signal?: AbortSignal): Promise<unknown> {
  const headers: Record<string, string> = {};
  if (body !== undefined) {
    headers["Content-Type"] = "application/json";
    await orderToken.known;
    if (orderToken.value) headers["X-CSRF-Token"] = orderToken.value;
  }
  const response = await send(url, {
    method,
    headers,
    body: body === undefined ? null : JSON.stringify(body),
    signal: signal ?? null,
  });
  const answer = await response.json().catch(() => null);
  if (answer?.success === true) return answer.data;
  throw refusal(response, answer?.error);
}

/** Fetch. Raise Problem when nothing answers. */
export async function send(url: string, init: RequestInit): Promise<Response> {
  try {
    return await fetch(url, init);
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Problem(
      "YTArchive does not answer. It may be restarting, or was stopped: start it with `ytarchive up`.",
      0,
      "E006",
      null,
    );
  }
}

/** The Problem that an answer is. Where a login is needed, the browser goes there. */
export function refusal(response: Response, error: ErrorDetail | undefined): Problem {
  if (response.status === 401 && location.pathname !== "/login") {
    location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search)}`);
  }
  return new Problem(
    error?.message ?? `The answer has status ${response.status}.`,
    response.status,
    error?.code ?? "E999",
    error?.details ?? null,
  );
}
