/** The navigation, the search field, and the state of the connection. */
import { useLocation } from "preact-iso";
import { connection, running } from "../data/live.ts";
import { logOut, session } from "../data/session.ts";
import { count } from "../data/units.ts";

export const PLACES = [
  { path: "/", name: "Today", key: "h", icon: "M4 11 12 4l8 7v9h-5v-6H9v6H4z" },
  { path: "/library", name: "Library", key: "l", icon: "M4 5h4v15H4zM10 5h4v15h-4zM16 5.5l3.6-.8L22 19l-3.6.8z" },
  {
    path: "/search",
    name: "Search",
    key: "s",
    icon:
      "M10.5 4a6.5 6.5 0 1 0 4 11.6L20 21l1.5-1.5-5.4-5.4A6.5 6.5 0 0 0 10.5 4zm0 2a4.5 4.5 0 1 1 0 9 4.5 4.5 0 0 1 0-9z",
  },
  {
    path: "/follow",
    name: "Follow",
    key: "f",
    icon:
      "M12 5c5 0 9 4 10.500 7-1.500 3-5.500 7-10.500 7S3 15 1.500 12C3 9 7 5 12 5zm0 3.500a3.500 3.500 0 1 0 0 7 3.500 3.500 0 0 0 0-7z",
  },
  { path: "/activity", name: "Activity", key: "a", icon: "M3 13h4l3-8 4 14 3-6h4v-2h-5l-2 4-4-14-4 10H3z" },
  { path: "/missing", name: "Missing", key: "m", icon: "M12 3 1.5 21h21zM11 9h2v6h-2zm0 8h2v2h-2z" },
  {
    path: "/care",
    name: "Care",
    key: "c",
    icon: "M12 2 4 5v6c0 5 3.4 9.4 8 11 4.6-1.6 8-6 8-11V5zm-1 14-4-4 1.5-1.5L11 13l5-5L17.500 9.500z",
  },
  { path: "/system", name: "System", key: "y", icon: "M4 4h16v6H4zm0 10h16v6H4zm3-8v2h2V6zm0 10v2h2v-2z" },
  { path: "/logs", name: "Logs", key: "o", icon: "M4 5h16v2H4zm0 4h12v2H4zm0 4h16v2H4zm0 4h9v2H4z" },
  {
    path: "/settings",
    name: "Settings",
    key: "e",
    icon: "M3 6h9v2H3zm13 0h5v2h-5zM13 4h2v6h-2zM3 16h5v2H3zm9 0h9v2h-9zM9 14h2v6H9z",
  },
] as const;

export function Navigation() {
  const { path, route } = useLocation();
  const current = PLACES.findLast((place) =>
    path === place.path || (place.path !== "/" && path.startsWith(place.path))
  );
  return (
    <>
      <header class="top">
        <a class="brand" href="/">
          <img src="/icon.svg" alt="" width={28} height={28} />
          YTArchive
        </a>
        <form
          class="search"
          role="search"
          action="/search"
          onSubmit={(event) => {
            event.preventDefault(); // the player goes on
            const words = new FormData(event.currentTarget).get("q");
            if (typeof words === "string" && words.trim()) route(`/search?q=${encodeURIComponent(words.trim())}`);
          }}
        >
          <label class="unseen" for="q">Search titles, descriptions and captions</label>
          <input id="q" name="q" type="search" placeholder="Search what was said…" autocomplete="off" />
        </form>
        <Link />
        <a class="button primary" href="/add">Add</a>
      </header>
      <nav class="places" aria-label="Places">
        <ul>
          {PLACES.map((place) => (
            <li key={place.path}>
              <a href={place.path} aria-current={current === place ? "page" : undefined} title={`g then ${place.key}`}>
                <svg viewBox="0 0 24 24" width="20" height="20" aria-hidden="true">
                  <path d={place.icon} fill="currentColor" />
                </svg>
                <span>{place.name}</span>
              </a>
            </li>
          ))}
        </ul>
        {session.value?.logged_in && (
          <div class="log-out">
            <button type="button" onClick={() => void logOut(false)}>Log out</button>
            <button type="button" onClick={() => void logOut(true)}>Log out everywhere</button>
          </div>
        )}
      </nav>
    </>
  );
}

/** Whether the page is up to date, and how much is running. */
function Link() {
  const number = running.value.size;
  const text = connection.value === "live"
    ? number ? `${count(number, "download")}` : "Live"
    : connection.value === "connecting"
    ? "Connecting…"
    : "Not connected: what you see may be old";
  return (
    <a class={`link ${connection.value}`} href="/activity" aria-label={text}>
      <span class="dot" aria-hidden="true" />
      <span class="link-text">{text}</span>
    </a>
  );
}
