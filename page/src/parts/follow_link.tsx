/** The way from a channel or playlist to its follow. */
import { placesOf } from "../data/follows.ts";
import { useRead } from "../data/read.ts";

const MOST = 500; // follows that are looked through for a page

/** A link to the follow of what a page is about, or to what following it would be. `place`: the path of the page. */
export function FollowLink({ target, place }: { target: string; place: string }) {
  const follows = useRead("/api/v1/follows", { query: { limit: MOST }, topics: ["follow"] });
  const follow = follows.data?.follows.find((one) => placesOf(one)[0]?.path === place);
  return follow
    ? <a class="button" href={`/follow/${follow.follow_id}`}>Followed</a>
    : <a class="button" href={`/follow?t=${encodeURIComponent(target)}`}>Follow</a>;
}
