/** Keys for the whole page: `/` searches, `?` lists them, `g` and a letter goes; an address that is pasted is added. */
import { useLocation } from "preact-iso";
import { useEffect, useRef } from "preact/hooks";
import { PLACES } from "./navigation.tsx";

const PATIENCE = 1_500; // ms for the letter after g
let going = -PATIENCE; // when g was pressed
const ADDRESS = /https?:\/\/\S*(?:youtube\.com|youtu\.be)\S*/i;

export function Keys() {
  const { route } = useLocation();
  const help = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const pressed = (event: KeyboardEvent) => {
      if (event.ctrlKey || event.metaKey || event.altKey || writes(event.target)) return;
      if (awaitsLetter()) {
        going = -PATIENCE;
        const place = PLACES.find((one) => one.key === event.key);
        if (place) {
          event.preventDefault();
          route(place.path);
        }
        return;
      }
      if (event.key === "g") going = performance.now();
      else if (event.key === "/") {
        event.preventDefault();
        document.getElementById("q")?.focus();
      } else if (event.key === "?") help.current?.showModal();
      else if (event.key === "n") route("/add");
    };
    const pasted = (event: ClipboardEvent) => {
      const found = writes(event.target) ? null : ADDRESS.exec(event.clipboardData?.getData("text") ?? "");
      if (found) route(`/add?t=${encodeURIComponent(found[0])}`);
    };
    document.addEventListener("keydown", pressed);
    document.addEventListener("paste", pasted);
    return () => {
      document.removeEventListener("keydown", pressed);
      document.removeEventListener("paste", pasted);
    };
  }, [route]);
  return (
    <dialog ref={help} aria-labelledby="keys">
      <h2 id="keys">Keys</h2>
      <dl class="keys">
        <Key name="/">search</Key>
        <Key name="n">add something</Key>
        {PLACES.map((place) => <Key key={place.key} name={`g ${place.key}`}>go to {place.name}</Key>)}
        <Key name="k, space">play or pause</Key>
        <Key name="j, l">10 seconds back, forward</Key>
        <Key name="←, →">5 seconds back, forward</Key>
        <Key name="0 – 9">to that tenth of the video</Key>
        <Key name="&lt; &gt;">slower, faster</Key>
        <Key name=", .">a frame back, forward</Key>
        <Key name="f, m, c">full screen, mute, captions</Key>
        <Key name="Ctrl V">paste an address of YouTube anywhere to add it</Key>
      </dl>
      <form method="dialog" class="dialog-actions">
        <button type="submit">Close</button>
      </form>
    </dialog>
  );
}

/** Whether the next letter says where to go. */
export function awaitsLetter(): boolean {
  return performance.now() - going < PATIENCE;
}

function Key({ name, children }: { name: string; children: preact.ComponentChildren }) {
  return (
    <div>
      <dt>{name.split(" ").map((key) => <kbd key={key}>{key}</kbd>)}</dt>
      <dd>{children}</dd>
    </div>
  );
}

/** Whether a key that is pressed there is text. */
export function writes(target: EventTarget | null): boolean {
  return target instanceof HTMLElement &&
    (target.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(target.tagName));
}
