/** The states of many items as cells of a grid, in the order of the list. Pure. */

export interface Grid {
  columns: number;
  rows: number;
  /** For each letter the path of all of its cells, each one unit wide and high. */
  paths: ReadonlyMap<string, string>;
  counts: ReadonlyMap<string, number>;
}

const APART = 60; // columns up to which cells are drawn one by one
const GAP = 0.06; // of a cell

/** One letter per item → the grid. In a large one, cells of the same letter that are side by side are one rectangle. */
export function gridOf(states: string, columns: number = columnsFor(states.length)): Grid {
  const pieces = new Map<string, string[]>();
  const counts = new Map<string, number>();
  for (let at = 0; at < states.length;) {
    const letter = states.charAt(at);
    const row = Math.floor(at / columns);
    const end = Math.min(states.length, (row + 1) * columns);
    let next = at + 1;
    while (columns > APART && next < end && states.charAt(next) === letter) next += 1;
    const width = columns > APART ? next - at : 1 - GAP;
    const piece = `M${at - row * columns} ${row}h${width}v1h-${width}z`;
    const known = pieces.get(letter);
    if (known) known.push(piece);
    else pieces.set(letter, [piece]);
    counts.set(letter, (counts.get(letter) ?? 0) + next - at);
    at = next;
  }
  const paths = new Map([...pieces].map(([letter, found]) => [letter, found.join("")]));
  return { columns, rows: Math.ceil(states.length / columns), paths, counts };
}

/** How many cells a row has: one row as long as a cell can be seen, then rows of at most 250. */
export function columnsFor(items: number): number {
  if (items <= 120) return Math.max(1, items);
  return items <= 3_000 ? 120 : 250;
}

/** The item whose cell is at this share of the width and the height; null outside. */
export function itemAt(grid: Grid, items: number, x: number, y: number): number | null {
  const [column, row] = [Math.floor(x * grid.columns), Math.floor(y * grid.rows)];
  const index = row * grid.columns + column;
  return column >= 0 && column < grid.columns && row >= 0 && index < items ? index : null;
}
