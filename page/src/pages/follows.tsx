/** `/follow`: channels and playlists that are looked at by themselves. `?t=`: what is to be followed. */
import { useLocation } from "preact-iso";
import type { Follow } from "../data/api.ts";
import { read } from "../data/client.ts";
import { intervalOf, nameOf } from "../data/follows.ts";
import { useReading } from "../data/read.ts";
import { count } from "../data/units.ts";
import { toast } from "../parts/announcer.tsx";
import { useAddress } from "../parts/address.ts";
import { Choices, Empty, Heading, Pager, Section, Shown, When } from "../parts/basics.tsx";
import { FOLLOW_NEWS, FollowActions, FollowForm, FollowState, SOON } from "../parts/follows.tsx";

const LIMIT = 50;

export function Follows() {
  const { route } = useLocation();
  const address = useAddress();
  const offset = address.number("offset", 0);
  const sort = address.get("sort") === "next" ? "next" : "title";
  const follows = useReading(
    JSON.stringify([offset, sort]),
    (signal) => read("/api/v1/follows", { query: { limit: LIMIT, offset, sort } }, signal),
    FOLLOW_NEWS,
    undefined,
    (page) => page.follows.some((follow) => follow.looking) ? SOON : undefined,
  );
  return (
    <>
      <Heading
        title="Follow"
        about="Channels and playlists that are looked at by themselves. What is new, and what your rules want, is saved."
      />
      <FollowForm
        key={address.get("t")}
        target={address.get("t")}
        done={(follow) => {
          toast(`Following ${nameOf(follow)} from now on.`);
          route(`/follow/${follow.follow_id}`);
        }}
      />
      <Section title="What is followed">
        <Shown of={follows} waiting="Reading what is followed…">
          {(page) =>
            page.total
              ? (
                <>
                  <div class="filters">
                    <Choices
                      label="In which order"
                      options={[["", "By name"], ["next", "By the next look"]]}
                      chosen={address.get("sort")}
                      href={(value) => address.with({ sort: value })}
                    />
                    <span class="small">{count(page.total, "follow")}</span>
                  </div>
                  <ul class="follows">
                    {page.follows.map((follow) => (
                      <Card key={follow.follow_id} follow={follow} reload={follows.reload} />
                    ))}
                  </ul>
                  <Pager
                    offset={offset}
                    limit={LIMIT}
                    total={page.total}
                    href={(at) => address.with({ offset: at })}
                  />
                </>
              )
              : <Nothing />}
        </Shown>
      </Section>
    </>
  );
}

function Card({ follow, reload }: { follow: Follow; reload: () => void }) {
  const { taken = 0, left_out: leftOut = 0 } = follow;
  return (
    <li class="job follow">
      <div class="job-head">
        <a class="job-title" href={`/follow/${follow.follow_id}`}>{nameOf(follow)}</a>
        <FollowState follow={follow} />
      </div>
      <p class="small">
        {taken.toLocaleString("en")} wanted, {leftOut.toLocaleString("en")} left out · {intervalOf(follow)}
      </p>
      <p class="found-last">
        {follow.found_at
          ? (
            <>
              Found last: <bdi>{follow.found_title ?? "a video without a title"}</bdi>, <When at={follow.found_at} />
            </>
          )
          : follow.looked_at
          ? "Nothing that is wanted was found yet."
          : "No look has been finished yet."}
      </p>
      {follow.error && <p class="why bad">The last look failed: {follow.error.message}</p>}
      <div class="actions">
        <FollowActions follow={follow} done={reload} removed={reload} />
      </div>
    </li>
  );
}

function Nothing() {
  return (
    <Empty title="Nothing is followed yet">
      <p>Paste the address of a channel or playlist above, for example of one that you would miss.</p>
      <p>
        It is looked at by itself from then on: the more often something comes, the more often. Nothing has to be done
        for it. Rules say which of its videos you want, and why others were left out stays listed, so that you can take
        one all the same.
      </p>
      <p>
        In a terminal: <code>ytarchive follow add ADDRESS</code>.
      </p>
    </Empty>
  );
}
