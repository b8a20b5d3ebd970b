/** Sentences for screen readers, and short messages for everybody. */
import { signal } from "@preact/signals";

const said = signal("");
const shown = signal<readonly { id: number; text: string }[]>([]);
let next = 0;

/** Let a screen reader say a sentence. Only what somebody would want to be told: no ticks. */
export function announce(text: string): void {
  said.value = text;
}

/** Show a short message for some seconds; it is said too. */
export function toast(text: string): void {
  const id = next++;
  shown.value = [...shown.value, { id, text }];
  announce(text);
  setTimeout(() => {
    shown.value = shown.value.filter((one) => one.id !== id);
  }, 6_000);
}

export function Announcer() {
  return (
    <>
      <p class="unseen" aria-live="polite">{said.value}</p>
      <div class="toasts" aria-hidden="true">
        {shown.value.map((one) => <p key={one.id} class="toast">{one.text}</p>)}
      </div>
    </>
  );
}
