/** `/logs`: what the services have written, with filters; new records appear while it is followed. */
import { useEffect, useState } from "preact/hooks";
import type { Reads } from "../data/api.ts";
import { urlOf } from "../data/client.ts";
import { useRead } from "../data/read.ts";
import { type LogRecord, recordOf } from "../data/records.ts";
import { count } from "../data/units.ts";
import { type Address, useAddress } from "../parts/address.ts";
import { Choices, Empty, Heading, Notice, Pager, Section, Shown } from "../parts/basics.tsx";
import { Records } from "../parts/records.tsx";

const SPANS: Record<string, [string, number]> = { hour: ["an hour", 1], day: ["a day", 24], week: ["a week", 168] };

type Query = Reads["/api/v1/logs"]["query"];

const LIMIT = 100;
const KEPT = 500; // records that were followed
const SERVICES = ["jobs", "metadata", "download", "storage", "logging", "stack", "cli", "web"] as const;
const LEVELS = [["debug", "everything"], ["info", "info"], ["warning", "warnings"], ["error", "errors"]] as const;

export function LogsPage() {
  const address = useAddress();
  const follows = address.get("follow") !== "";
  const filter: Query = {};
  if (address.get("service")) filter.service = address.get("service") as NonNullable<Query["service"]>;
  if (address.get("level")) filter.level = address.get("level") as NonNullable<Query["level"]>;
  if (address.get("q")) filter.search = address.get("q");
  if (address.get("trace")) filter.trace_id = address.get("trace");
  const span = SPANS[address.get("since")];
  const earlier = Math.floor(Date.now() / 60_000) * 60_000 - (span?.[1] ?? 0) * 3_600_000; // the same for a minute
  return (
    <>
      <Heading title="Logs" about="What the services have written. A line opens its story.">
        <a class="button" href={address.with({ follow: follows ? "" : "1" })}>
          {follows ? "Stop following" : "Follow"}
        </a>
      </Heading>
      <Filters address={address} />
      {follows && <Followed key={JSON.stringify(filter)} filter={filter} />}
      <Kept
        address={address}
        filter={span ? { ...filter, from: new Date(earlier).toISOString() } : filter}
        follows={follows}
      />
    </>
  );
}

function Filters({ address }: { address: Address }) {
  return (
    <div class="filters">
      <Choices
        label="Which service"
        options={[["", "All services"], ...SERVICES.map((name) => [name, name] as const)]}
        chosen={address.get("service")}
        href={(value) => address.with({ service: value })}
      />
      <Choices
        label="How important"
        options={LEVELS.map(([value, name]) => [value === "debug" ? "" : value, name] as const)}
        chosen={address.get("level")}
        href={(value) => address.with({ level: value })}
      />
      <Choices
        label="Of which time"
        options={[["", "any time"], ...Object.entries(SPANS).map(([value, [name]]) => [value, name] as const)]}
        chosen={address.get("since")}
        href={(value) => address.with({ since: value })}
      />
      <form
        class="narrow"
        onSubmit={(event) => {
          event.preventDefault();
          address.go({ q: String(new FormData(event.currentTarget).get("q") ?? "").trim() });
        }}
      >
        <label class="unseen" for="log-q">A text anywhere in a record</label>
        <input id="log-q" name="q" type="search" placeholder="A text in the record" defaultValue={address.get("q")} />
        <button type="submit">Filter</button>
      </form>
    </div>
  );
}

function Kept({ address, filter, follows }: { address: Address; filter: Query; follows: boolean }) {
  const offset = address.number("offset", 0);
  const logs = useRead("/api/v1/logs", { query: { ...filter, limit: LIMIT, offset } });
  return (
    <Section title={follows ? "Before" : "Newest first"}>
      <Shown of={logs} waiting="Searching the logs…">
        {(page) => (
          <>
            {page.complete === false && (
              <Notice kind="warn">
                Not all days were searched, because that would take too long. Narrow the filters to search further back.
              </Notice>
            )}
            {page.logs.length ? <Records records={page.logs.map(recordOf)} /> : (
              <Empty title="No record matches">
                <p>
                  <a href="/logs">Remove the filters</a>. Records of debugging are written with [general] log_level =
                  "DEBUG".
                </p>
              </Empty>
            )}
            <Pager offset={offset} limit={LIMIT} total={page.total} href={(at) => address.with({ offset: at })} />
          </>
        )}
      </Shown>
    </Section>
  );
}

/** What is written from now on. */
function Followed({ filter }: { filter: Query }) {
  const [records, setRecords] = useState<readonly LogRecord[]>([]);
  const [state, setState] = useState<"connecting" | "listening" | "lost">("connecting");
  const [dropped, setDropped] = useState(0);
  useEffect(() => {
    const source = new EventSource(urlOf("/api/v1/logs/stream", {}, { ...filter }));
    source.addEventListener("listening", () => setState("listening"));
    source.addEventListener("log", (message) => {
      const record = recordOf(JSON.parse(message.data));
      setRecords((before) => [record, ...before].slice(0, KEPT));
    });
    source.addEventListener("dropped", (message) => {
      const { dropped: more } = JSON.parse(message.data) as { dropped: number };
      setDropped((before) => before + more);
    });
    source.onerror = () => setState("lost");
    return () => source.close();
  }, []);
  const text = {
    connecting: "Connecting…",
    listening: "New records appear here as they are written.",
    lost: "The connection was lost, and is tried again. Records of the meantime are below, after reloading.",
  };
  return (
    <Section title="Now">
      <p class="small" role="status">{text[state]}</p>
      {dropped > 0 && (
        <Notice kind="warn">{count(dropped, "record")} came too fast to be shown. Reload to read them.</Notice>
      )}
      <Records records={records} />
    </Section>
  );
}
