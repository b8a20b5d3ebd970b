/** `/system`: the services and their health. */
import { useRead } from "../data/read.ts";
import { span } from "../data/units.ts";
import { Heading, Shown, Table, Tag } from "../parts/basics.tsx";

export function System() {
  const system = useRead("/api/v1/system", { topics: ["service", "source"] });
  return (
    <Shown of={system}>
      {(state) => (
        <>
          <Heading title="System" about={`Version ${state.version}`} />
          <Table caption="The services" head={["Service", "State", "Runs for", "What is wrong"]}>
            {state.services.map((one) => (
              <tr key={one.name}>
                <th scope="row">{one.name}</th>
                <td>
                  {one.health
                    ? <Tag kind={one.health.status === "healthy" ? "good" : "bad"}>{one.health.status}</Tag>
                    : <Tag kind="bad">away</Tag>}
                </td>
                <td>{one.health ? span(one.health.uptime_seconds) : ""}</td>
                <td>{one.problem}</td>
              </tr>
            ))}
          </Table>
        </>
      )}
    </Shown>
  );
}
