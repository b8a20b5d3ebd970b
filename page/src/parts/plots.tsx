/** Pictures of numbers, as SVG; each has its numbers as a table. */
import type { ComponentChildren } from "preact";
import { useLocation } from "preact-iso";

export interface BarValue {
  name: string;
  value: number;
  /** What the bar means in words. */
  text: string;
  href?: string;
}

/** Upright bars from left to right. A click on one leads where the same link of its table does. */
export function Bars(
  { title, values, unit, height = 90 }: { title: string; values: readonly BarValue[]; unit: string; height?: number },
) {
  const { route } = useLocation();
  const most = Math.max(...values.map((one) => one.value), 0) || 1;
  const width = 1000 / Math.max(values.length, 1);
  return (
    <figure class="plot">
      <svg viewBox={`0 0 1000 ${height + 4}`} aria-hidden="true" preserveAspectRatio="none">
        {values.map((one, index) => {
          const tall = one.value ? Math.max(2, (one.value / most) * height) : 0;
          const { href } = one;
          return (
            <rect
              key={one.name}
              x={index * width + width * 0.08}
              y={height - tall + 2}
              width={width * 0.84}
              height={tall}
              class={href ? "plot-bar leads" : "plot-bar"}
              {...(href ? { onClick: () => route(href) } : {})}
            >
              <title>{one.text}</title>
            </rect>
          );
        })}
      </svg>
      <figcaption class="unseen">{title}</figcaption>
      <div class="plot-ends" aria-hidden="true">
        <span>{values[0]?.name}</span>
        <span>{values.at(-1)?.name}</span>
      </div>
      <Numbers
        title={title}
        head={["", unit]}
        rows={values.map((one) => [one.href ? <a key="a" href={one.href}>{one.name}</a> : one.name, one.text])}
      />
    </figure>
  );
}

/** The numbers of a picture. */
export function Numbers(
  { title, head, rows }: { title: string; head: readonly string[]; rows: readonly (readonly ComponentChildren[])[] },
) {
  return (
    <details class="numbers">
      <summary>As a table</summary>
      <div class="table-wrap" tabIndex={0} role="region" aria-label={title}>
        <table>
          <caption class="unseen">{title}</caption>
          <thead>
            <tr>
              {head.map((cell, index) => <th scope="col" key={index}>{cell || <span class="unseen">What</span>}</th>)}
            </tr>
          </thead>
          <tbody>
            {rows.map((row, index) => (
              <tr key={index}>
                {row.map((cell, column) =>
                  column ? <td key={column}>{cell}</td> : <th scope="row" key={column}>{cell}</th>
                )}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </details>
  );
}
