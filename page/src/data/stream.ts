/** Server-sent events that are an answer: read once, with the errors of REST, unlike EventSource. */
import { refusal, send } from "./client.ts";

export interface Message {
  event: string;
  data: string;
}

/** Yield the messages of the stream at `url`, until it ends. Raise Problem. */
export async function* messagesOf(url: string, signal: AbortSignal): AsyncGenerator<Message> {
  const response = await send(url, { headers: { Accept: "text/event-stream" }, signal });
  if (!response.ok || response.body === null) {
    throw refusal(response, (await response.json().catch(() => null))?.error);
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
