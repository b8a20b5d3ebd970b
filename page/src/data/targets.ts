/** What somebody wants to save: from a text field, a shared text or an address that was pasted. Pure. */

/** The targets in a text, one per line or separated by spaces, each once. */
export function targetsIn(text: string): string[] {
  return [...new Set(text.split(/\s+/).filter(Boolean))];
}

/** The targets of the address of /add: `t`; else the addresses in a text that was shared, which may say more. */
export function sharedTargets(query: (name: string) => string): string[] {
  const given = targetsIn(query("t"));
  if (given.length) return given;
  const shared = `${query("text")} ${query("url")} ${query("title")}`;
  return targetsIn(shared).filter((word) => /^https?:\/\//i.test(word));
}

/** The script of a bookmark that adds the page one looks at. */
export function bookmarklet(origin: string): string {
  return `javascript:location.href=${JSON.stringify(`${origin}/add?t=`)}+encodeURIComponent(location.href)`;
}
