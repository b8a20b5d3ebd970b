/** Server-sent events that are an answer: read once, with the errors of REST, unlike EventSource. */
import type { ErrorDetail } from "./api.ts";
import { Problem } from "./client.ts";

export interface Message {
  event: string;
  data: string;
}

/** Yield the messages of the stream at `url`, until it ends. Raise Problem. */
export async function* messagesOf(url: string, signal: AbortSignal): AsyncGenerator<Message> {
  let response: Response;
  try {
    response = await fetch(url, { headers: { Accept: "text/event-stream" }, signal });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Problem(
      "YTArchive does not answer. It may be restarting, or was stopped: start it with `ytarchive up`.",
      0,
      "E006",
      null,
    );
  }
  if (!response.ok || response.body === null) {
    const error = (await response.json().catch(() => null))?.error as ErrorDetail | undefined;
    const message = error?.message ?? `The answer has status ${response.status}.`;
    throw new Problem(message, response.status, error?.code ?? "E999", error?.details ?? null);
  }
  const parser = new MessageParser();
  for await (const text of response.body.pipeThrough(new TextDecoderStream())) yield* parser.parse(text);
}

/** Puts messages together from pieces of a stream. */
export class MessageParser {
  #rest = "";
  #event = "message";
  #data: string[] = [];

  *parse(text: string): Generator<Message> {
    const lines = (this.#rest + text).split(/\r\n|\n/);
    this.#rest = lines.pop() ?? "";
    for (const line of lines) {
      if (line === "") {
        if (this.#data.length) yield { event: this.#event, data: this.#data.join("\n") };
        this.#event = "message";
        this.#data = [];
      } else if (line.startsWith("event:")) this.#event = line.slice(6).trim();
      else if (line.startsWith("data:")) this.#data.push(line.slice(5).replace(/^ /, ""));
    }
  }
}
