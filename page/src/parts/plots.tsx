/** Pictures of numbers, as SVG; each has its numbers as a table. */
import type { ComponentChildren } from "preact";
import { useLocation } from "preact-iso";
import type { Column } from "../data/columns.ts";

const HEIGHT = 150; // pixels of the tallest column
const ROOM = 24; // for the labels below
const LEAST = 2; // of a column that is not empty

/** Columns from left to right; a click on one leads where the same link of the table does. `line`: the number of columns
 * before a dashed line, with its name; `most`: labels; `rows`: of the table, unless each column is one. */
export function Columns({ title, columns, line, most = 13, head, rows = columns.map(rowOf) }: {
  title: string;
  columns: readonly Column[];
  line?: { after: number; name: string } | undefined;
  most?: number;
  head: readonly string[];
  rows?: readonly (readonly ComponentChildren[])[];
}) {
  const { route } = useLocation();
  const tallest = Math.max(...columns.map((one) => one.value), 0) || 1;
  const width = 100 / Math.max(1, columns.length);
  const every = Math.ceil(columns.length / most);
  return (
    <figure class="columns">
      <svg width="100%" height={HEIGHT + ROOM} role="img" aria-label={`${title}. Its numbers are in the table below.`}>
        {columns.map((one, index) => {
          const height = one.value ? Math.max(LEAST, (one.value / tallest) * (HEIGHT - 12)) : 0;
          const { href } = one;
          return (
            <g
              key={index}
              class={["column", one.marked && "marked", href && "leads"].filter(Boolean).join(" ")}
              {...(href ? { onClick: () => route(href) } : {})}
            >
              <title>{one.text}</title>
              <rect class="column-room" x={`${index * width}%`} width={`${width}%`} y={0} height={HEIGHT} />
              <rect
                x={`${(index + 0.12) * width}%`}
                width={`${width * 0.76}%`}
                y={HEIGHT - height}
                height={height}
                rx={2}
              />
              {index % every === 0 && (
                <text x={`${(index + 0.5) * width}%`} y={HEIGHT + 16} text-anchor="middle">{one.label}</text>
              )}
            </g>
          );
        })}
        <line class="column-base" x1="0" x2="100%" y1={HEIGHT} y2={HEIGHT} />
        {line && (
          <g class="column-line">
            <line x1={`${line.after * width}%`} x2={`${line.after * width}%`} y1={0} y2={HEIGHT} />
            <text
              x={`${line.after * width}%`}
              dx={line.after * width > 60 ? -6 : 6}
              y={11}
              text-anchor={line.after * width > 60 ? "end" : "start"}
            >
              {line.name}
            </text>
          </g>
        )}
      </svg>
      <Numbers title={title} head={head} rows={rows} />
    </figure>
  );
}

/** The text of a column is its name, a colon, and what it counts. */
function rowOf(one: Column): ComponentChildren[] {
  const [name, ...rest] = one.text.split(": ");
  return [one.href ? <a key="name" href={one.href}>{name}</a> : name, rest.join(": ")];
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
