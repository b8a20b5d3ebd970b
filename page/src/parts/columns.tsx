/** A picture of columns, with its numbers as a table. */
import type { ComponentChildren } from "preact";
import type { Column } from "../data/care.ts";
import { Table } from "./basics.tsx";

const HEIGHT = 150; // pixels of the tallest column
const ROOM = 24; // for the labels below
const LEAST = 2; // of a column that is not empty

/** `line`: the number of columns before a dashed line, with its name. */
export function Columns({ title, columns, line, most = 13, head, children }: {
  title: string;
  columns: readonly Column[];
  line?: { after: number; name: string } | undefined;
  most?: number;
  head: readonly ComponentChildren[];
  children: ComponentChildren;
}) {
  const tallest = Math.max(1, ...columns.map((one) => one.value));
  const width = 100 / Math.max(1, columns.length);
  const every = Math.ceil(columns.length / most);
  return (
    <figure class="columns">
      <svg width="100%" height={HEIGHT + ROOM} role="img" aria-label={`${title}. Its numbers are in the table below.`}>
        {columns.map((one, index) => {
          const height = one.value ? Math.max(LEAST, (one.value / tallest) * (HEIGHT - 12)) : 0;
          return (
            <g key={index} class={one.marked ? "column marked" : "column"}>
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
      <details>
        <summary>The numbers</summary>
        <Table caption={title} head={head}>{children}</Table>
      </details>
    </figure>
  );
}
