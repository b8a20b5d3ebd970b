/** A bar of parts, with its numbers in words and as a table. */
import type { ComponentChildren } from "preact";

export interface Part {
  name: string;
  value: number;
  /** A class of 5-doing.css: how the part looks. */
  look: "accent" | "good" | "warn" | "bad" | "quiet" | "maybe" | "free";
  shown: ComponentChildren;
}

const WIDTH = 1000;

export function PartsBar({ label, parts }: { label: string; parts: readonly Part[] }) {
  const present = parts.filter((part) => part.value > 0);
  const total = present.reduce((sum, part) => sum + part.value, 0);
  let from = 0;
  const placed = present.map((part) => {
    const width = total ? (part.value / total) * WIDTH : 0;
    from += width;
    return { ...part, x: from - width, width };
  });
  return (
    <figure class="parts-bar">
      <svg viewBox={`0 0 ${WIDTH} 20`} preserveAspectRatio="none" role="img" aria-label={label}>
        {placed.map((part) => (
          <rect key={part.name} class={`part ${part.look}`} x={part.x} y={0} width={part.width} height={20} />
        ))}
      </svg>
      <figcaption>
        <ul class="legend">
          {present.map((part) => (
            <li key={part.name}>
              <span class={`swatch ${part.look}`} aria-hidden="true" />
              {part.name}: <strong>{part.shown}</strong>
            </li>
          ))}
        </ul>
      </figcaption>
    </figure>
  );
}
