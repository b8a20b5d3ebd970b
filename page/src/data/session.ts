/** Whether somebody has logged in, where the page can be reached from other machines. */
import { signal } from "@preact/signals";
import type { SessionState } from "./api.ts";
import { order, orderToken, read } from "./client.ts";

export const session = signal<SessionState | null>(null);

/** Ask whether a login is needed, and for what orders must carry. */
export function askForSession(): Promise<void> {
  const asked = read("/api/v1/session").then(take, () => {}); // the first answer of the page says what is wrong
  orderToken.known = asked;
  return asked;
}

export async function logIn(given: { password: string } | { token: string }): Promise<void> {
  take(await order("POST /api/v1/session", { body: given }));
}

export async function logOut(everywhere: boolean): Promise<void> {
  await order("DELETE /api/v1/session", { query: { everywhere } });
  location.assign("/login");
}

function take(found: SessionState): void {
  session.value = found;
  orderToken.value = found.csrf ?? "";
}

/** Where to go after a login: a path of this page, nothing else. Pure. */
export function ownPath(wanted: string): string {
  return /^\/(?![/\\])[^\s]*$/.test(wanted) && !wanted.startsWith("/login") ? wanted : "/";
}
