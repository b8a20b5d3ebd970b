import { columnsFor, gridOf, itemAt } from "./pixels.ts";

function equal(found: unknown, expected: unknown) {
  if (JSON.stringify(found) !== JSON.stringify(expected)) {
    throw new Error(`${JSON.stringify(found)} is not ${JSON.stringify(expected)}`);
  }
}

Deno.test("neighbours of one state are one rectangle, and a row ends it", () => {
  const grid = gridOf("aaabba", 2);
  equal([...grid.paths], [["a", "M0 0h2v1h-2zM0 1h1v1h-1zM1 2h1v1h-1z"], ["b", "M1 1h1v1h-1zM0 2h1v1h-1z"]]);
  equal([...grid.counts], [["a", 4], ["b", 2]]);
  equal([grid.columns, grid.rows], [2, 3]);
});

Deno.test("twenty thousand items fit", () => {
  const grid = gridOf("af".repeat(10_000));
  equal([grid.columns, grid.rows], [250, 80]);
  equal(grid.counts.get("f"), 10_000);
});

Deno.test("a point leads to its item", () => {
  const grid = gridOf("aaaaa", 2);
  equal(itemAt(grid, 5, 0.75, 0.5), 3);
  equal(itemAt(grid, 5, 0.75, 0.9), null);
  equal(itemAt(grid, 5, 1, 0), null);
});

Deno.test("nothing is a grid too", () => {
  equal([columnsFor(0), gridOf("").rows], [1, 0]);
});
