/** Which line or chapter is current at a moment. Pure. */

/** Return the index of the last of `starts` (ascending seconds) that is not after `at`; -1 before the first. */
export function indexAt(starts: readonly number[], at: number): number {
  let low = 0;
  let high = starts.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((starts[middle] as number) <= at) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/** A piece of a text: whether it is a match of what was searched for. */
export type Piece = readonly [text: string, match: boolean];

/** Cut a text into pieces at the occurrences of `words`, without regard to case. */
export function pieces(text: string, words: string): readonly Piece[] {
  const wanted = words.trim().toLowerCase();
  if (!wanted) return [[text, false]];
  const found: Piece[] = [];
  const lower = text.toLowerCase();
  let from = 0;
  // where lower case has another length (İ), positions would not fit: then only whole texts match
  if (lower.length !== text.length) return [[text, lower.includes(wanted)]];
  for (let at = lower.indexOf(wanted); at >= 0; at = lower.indexOf(wanted, from)) {
    if (at > from) found.push([text.slice(from, at), false]);
    found.push([text.slice(at, at + wanted.length), true]);
    from = at + wanted.length;
  }
  if (from < text.length) found.push([text.slice(from), false]);
  return found;
}
