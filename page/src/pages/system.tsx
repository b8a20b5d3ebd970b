/** `/system`: services, the way to YouTube, quota, versions, messages that nobody could handle, and the doctor. */
import { useState } from "preact/hooks";
import type { DeadLetterRow, Finding, ServiceState, SystemState } from "../data/api.ts";
import { useRead } from "../data/read.ts";
import { count, moment, span, timeOf } from "../data/units.ts";
import { Bar, Facts, Heading, Notice, Section, Shown, Table, Tag, When } from "../parts/basics.tsx";

export function System() {
  const system = useRead("/api/v1/system", { topics: ["service", "source"] });
  const versions = useRead("/api/v1/versions");
  return (
    <>
      <Heading title="System" about={system.data && state(system.data)} />
      <Shown of={system} waiting="Asking the services…">
        {(found) => (
          <>
            {found.temporary && (
              <Notice kind="warn">
                <p>
                  This is the system of one command, which ends with its job. <code>ytarchive up</code>{" "}
                  keeps one running.
                </p>
              </Notice>
            )}
            <Section title="Services">
              <Table caption="The services" head={["Service", "State", "Runs for", "What is wrong", "More"]}>
                {found.services.map((one) => <ServiceRow key={one.name} service={one} />)}
              </Table>
            </Section>
            <Egress system={found} />
          </>
        )}
      </Shown>
      <Instances />
      <Quota />
      <Section title="Versions">
        <Shown of={versions}>
          {({ programs }) => (
            <Facts
              rows={programs.map((one) =>
                [one.name, one.version ?? <Tag key={one.name} kind="bad">not found</Tag>] as const
              )}
            />
          )}
        </Shown>
      </Section>
      <DeadLetters />
      <Doctor />
    </>
  );
}

function state(system: SystemState): string {
  const ill = system.services.filter((one) => one.health?.status !== "healthy");
  return ill.length
    ? `${count(ill.length, "service")} of ${system.services.length} ${ill.length === 1 ? "needs" : "need"} attention: ${
      ill.map((one) => one.name).join(", ")
    }.`
    : `All ${system.services.length} services are well.`;
}

const CHECKS: Record<string, string> = {
  http_responsive: "does not answer requests",
  dependencies_available: "cannot reach what it depends on",
  no_critical_errors: "has failed in the last minutes",
  disk_space_available: "has too little disk space",
};

function ServiceRow({ service }: { service: ServiceState }) {
  const failed = Object.entries(service.health?.checks ?? {}).filter(([, good]) => !good).map(([name]) =>
    CHECKS[name] ?? name
  );
  return (
    <tr>
      <th scope="row">{service.name}</th>
      <td>
        {service.health
          ? (
            <Tag kind={service.health.status === "healthy" ? "good" : "bad"}>
              {service.health.status === "healthy" ? "well" : "unwell"}
            </Tag>
          )
          : <Tag kind="bad">away</Tag>}
      </td>
      <td class="number">{service.health ? span(service.health.uptime_seconds) : ""}</td>
      <td>{[service.problem, ...failed, ...service.errors].filter(Boolean).join(" · ")}</td>
      <td>
        {/* another document: not of this page */}
        <a href={`/api/v1/services/${service.name}/docs`} target="_blank" rel="noreferrer">its REST</a>
      </td>
    </tr>
  );
}

/** The ways to YouTube, and which of them is blocked until when. */
function Egress({ system }: { system: SystemState }) {
  const ways = system.services.flatMap((one) =>
    Object.entries(
      (one.health?.metrics?.breakers ?? {}) as Record<
        string,
        { state: string; until: string | null; failures: number }
      >,
    )
      .map(([name, breaker]) => ({ service: one.name, name, ...breaker }))
  );
  if (!ways.length) return null;
  const blocked = ways.filter((one) => one.state !== "closed");
  return (
    <Section title="Ways out">
      {blocked.map((one) => (
        <Notice kind="warn" key={one.service + one.name}>
          <p>
            {one.name} is blocked{one.until ? ` until ${timeOf(one.until)}` : ""} after{" "}
            {count(one.failures, "failure")}: {one.service} waits, and goes on by itself.
          </p>
        </Notice>
      ))}
      <Table caption="Ways out of this system" head={["Way", "Used by", "State"]}>
        {ways.map((one) => (
          <tr key={one.service + one.name}>
            <th scope="row">{one.name}</th>
            <td>{one.service}</td>
            <td>
              {one.state === "closed"
                ? <Tag kind="good">open</Tag>
                : <Tag kind="warn">{one.state === "open" ? "blocked" : "is being tried"}</Tag>}
            </td>
          </tr>
        ))}
      </Table>
    </Section>
  );
}

function Instances() {
  const services = useRead("/api/v1/registry/services", { query: { limit: 200 }, topics: ["service"] });
  if (services.data && services.data.total <= 5) return null; // one of each: nothing new
  return (
    <Section title="Instances">
      <Shown of={services}>
        {(page) => (
          <Table caption="Instances of the services" head={["Service", "Machine", "Process", "Slots", "Since"]}>
            {page.services.map((one) => (
              <tr key={one.instance}>
                <th scope="row">{one.name}</th>
                <td>{one.host}</td>
                <td class="number">{one.pid}</td>
                <td>{one.slots ? `${(one.slots ?? 0) - (one.free_slots ?? 0)} of ${one.slots} in use` : ""}</td>
                <td>
                  <When at={one.started_at} />
                </td>
              </tr>
            ))}
          </Table>
        )}
      </Shown>
    </Section>
  );
}

function Quota() {
  const quota = useRead("/api/v1/metadata/quota");
  if (quota.data && !quota.data.configured) return null;
  return (
    <Section title="Quota of the Data API">
      <Shown of={quota}>
        {(found) => (
          <>
            <p>{found.message}</p>
            {found.keys.map((key) => (
              <p key={key.key} class="quota">
                <span>{key.used.toLocaleString("en")} of {found.limit.toLocaleString("en")} units</span>
                <Bar value={key.used} max={found.limit} label={`${key.used} of ${found.limit} units are used`} />
              </p>
            ))}
            <p class="small">
              The day ends <When at={found.resets_at} />.
            </p>
          </>
        )}
      </Shown>
    </Section>
  );
}

function DeadLetters() {
  const letters = useRead("/api/v1/dead-letters", { query: { limit: 20 }, topics: ["dead"] });
  if (letters.problem?.status === 403) return null; // not for readers
  return (
    <Section title="Messages that nobody could handle">
      <Shown of={letters}>
        {(page) =>
          page.dead_letters.length
            ? (
              <>
                <Table caption="Dead letters, newest first" head={["#", "When", "Message", "Who failed", "Why"]}>
                  {page.dead_letters.map((one: DeadLetterRow) => (
                    <tr key={one.number}>
                      <td class="number">{one.number}</td>
                      <td class="number">{moment(one.at)}</td>
                      <td>
                        <a href={`/t/${one.trace_id}`}>{one.type}</a>
                      </td>
                      <td>{one.consumer}</td>
                      <td>{one.error}</td>
                    </tr>
                  ))}
                </Table>
                <p class="small">
                  {count(page.total, "message")}. <code>ytarchive events dead replay NUMBER</code>{" "}
                  tries one again, once its cause is mended.
                </p>
              </>
            )
            : <p>None. Every message was handled.</p>}
      </Shown>
    </Section>
  );
}

const STATES: Record<Finding["state"], [string, string]> = {
  ok: ["good", "good"],
  warning: ["look at it", "warn"],
  problem: ["wrong", "bad"],
};

function Doctor() {
  const [wanted, want] = useState<"" | "here" | "online">("");
  const diagnosis = useRead(wanted ? "/api/v1/doctor" : null, { query: { online: wanted === "online" } });
  return (
    <Section
      title="Doctor"
      more={
        <span class="actions">
          <button type="button" onClick={() => wanted === "here" ? diagnosis.reload() : want("here")}>Examine</button>
          <button type="button" onClick={() => want("online")} title="Also asks YouTube whether it answers">
            Examine, also online
          </button>
        </span>
      }
    >
      {wanted === ""
        ? (
          <p class="small">
            Checks programs, folders, rights, disks, ports and settings of the machine of this page, and says how to
            mend what is wrong.
          </p>
        )
        : (
          <Shown of={diagnosis} waiting="Examining…">
            {(found) => (
              <>
                <p role="status">
                  {found.healthy ? "Nothing is wrong." : "Something is wrong: the remedies are below."}
                </p>
                <Table caption="Checks of this installation" head={["Check", "State", "Found", "What to do"]}>
                  {found.checks.map((check, index) => (
                    <tr key={index}>
                      <th scope="row">{check.check}</th>
                      <td>
                        <Tag kind={STATES[check.state][1]}>{STATES[check.state][0]}</Tag>
                      </td>
                      <td>{check.found}</td>
                      <td>{check.mend}</td>
                    </tr>
                  ))}
                </Table>
              </>
            )}
          </Shown>
        )}
    </Section>
  );
}
