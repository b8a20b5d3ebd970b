/** What is chosen for what is to be saved, as fields of a form. */
import { useId, useState } from "preact/hooks";

const QUALITIES = ["best", "2160p", "1440p", "1080p", "720p", "480p", "360p", "audio"];
export const USUAL = "1080p";
const QUALITY_NAMES: Record<string, string> = { best: "the best there is", audio: "sound only" };

/** The fields `quality` and `selector`, which chosenQuality reads. */
export function QualityFields({ chosen }: { chosen: string }) {
  const id = useId();
  const [own, setOwn] = useState(!QUALITIES.includes(chosen));
  return (
    <>
      <div>
        <label for={`${id}q`}>Quality</label>
        <select id={`${id}q`} name="quality" onChange={(event) => setOwn(event.currentTarget.value === "own")}>
          {QUALITIES.map((name) => (
            <option key={name} value={name} selected={name === chosen}>
              {QUALITY_NAMES[name] ?? `up to ${name}`}
            </option>
          ))}
          <option value="own" selected={!QUALITIES.includes(chosen)}>a format selector…</option>
        </select>
      </div>
      {own && (
        <div>
          <label for={`${id}s`}>Format selector of yt-dlp</label>
          <input
            id={`${id}s`}
            name="selector"
            required
            defaultValue={QUALITIES.includes(chosen) ? "" : chosen}
            placeholder="bv*[fps<=30]+ba/b"
          />
        </div>
      )}
    </>
  );
}

export function chosenQuality(value: (name: string) => string): string {
  return value("quality") === "own" ? value("selector") : value("quality");
}

/** The field `captions`. */
export function CaptionField({ chosen }: { chosen: string }) {
  const id = useId();
  return (
    <div>
      <label for={id}>Captions, as language codes</label>
      <input id={id} name="captions" defaultValue={chosen} placeholder="en,de" />
    </div>
  );
}

export function Check(
  { name, value = "1", on, children }: { name: string; value?: string; on: boolean; children: string },
) {
  return (
    <label class="check">
      <input type="checkbox" name={name} value={value} defaultChecked={on} /> {children}
    </label>
  );
}
