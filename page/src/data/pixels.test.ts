import { columnsFor, gridOf, itemAt } from "./pixels.ts";

function equal(found: unknown, expected: unknown) {
  if (JSON.stringify(found) !== JSON.stringify(expected)) {
    throw new Error(`${JSON.stringify(found)} is not ${JSON.stringify(expected)}`);
  }
}

Deno.test("neighbours of one state are one rectangle, and a row ends it", () => {
  const grid = gridOf("a".repeat(99) + "bb" + "a".repeat(100), 100);
  equal([...grid.paths], [["a", "M0 0h99v1h-99zM1 1h99v1h-99zM0 2h1v1h-1z"], ["b", "M99 0h1v1h-1zM0 1h1v1h-1z"]]);
  equal([...grid.counts], [["a", 199], ["b", 2]]);
  equal([grid.columns, grid.rows], [100, 3]);
});

Deno.test("few items are drawn apart", () => {
  equal([...gridOf("aab").paths], [["a", "M0 0h0.94v1h-0.94zM1 0h0.94v1h-0.94z"], ["b", "M2 0h0.94v1h-0.94z"]]);
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
