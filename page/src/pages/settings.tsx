/** `/settings`: every key of the configuration, its value, where it came from, and how to change it. */
import type { Setting } from "../data/api.ts";
import { useRead } from "../data/read.ts";
import { KEYS, SECTIONS } from "../data/settings.ts";
import { count } from "../data/units.ts";
import { useAddress } from "../parts/address.ts";
import { Choices, Empty, Heading, Notice, Section, Shown, Table, Tag } from "../parts/basics.tsx";

export function SettingsPage() {
  const address = useAddress();
  const settings = useRead("/api/v1/settings");
  const words = address.get("q").toLowerCase().split(/\s+/).filter(Boolean);
  const changed = address.get("only") === "changed";
  const fits = (one: Setting) =>
    (!changed || one.origin !== "default") &&
    words.every((word) => `${one.key} ${KEYS[one.key]?.about ?? ""} ${text(one.value)}`.toLowerCase().includes(word));
  return (
    <>
      <Heading title="Settings" about="As they are in force. They are read when YTArchive starts." />
      <div class="search-bar">
        <label class="wide">
          Find
          <input
            type="search"
            placeholder="A key, or what it is for…"
            defaultValue={address.get("q")}
            onInput={(event) => address.go({ q: event.currentTarget.value })}
          />
        </label>
        <Choices
          label="Which"
          options={[["", "All"], ["changed", "Changed"]]}
          chosen={address.get("only")}
          href={(only) => address.with({ only })}
        />
      </div>
      <Shown of={settings}>
        {({ file, settings: all }) => {
          const shown = all.filter(fits);
          return (
            <>
              <Notice>
                <p>
                  {file
                    ? (
                      <>
                        Change them in <code>{file}</code>,
                      </>
                    )
                    : (
                      <>
                        There is no file yet: write <code>config.toml</code> (<code>ytarchive config show</code>{" "}
                        says where),
                      </>
                    )} or by a variable such as <code>YTARCHIVE_STORAGE__BASE_PATH</code>; then start YTArchive again.
                  {" "}
                  <code>ytarchive config check</code> checks them before.
                </p>
              </Notice>
              <p class="small" role="status">{count(shown.length, "key")}</p>
              {!shown.length && <Empty title="No such key" />}
              {sectionsOf(shown).map(([name, keys]) => (
                <Section key={name} title={`[${name}]`}>
                  {SECTIONS[name] && <p class="small about-section">{SECTIONS[name]}</p>}
                  <Table caption={`Keys of ${name}`} head={["Key", "Value", "From", "What it is for"]} class="settings">
                    {keys.map((one) => (
                      <tr key={one.key}>
                        <th scope="row">
                          <code>{one.key.slice(name.length + 1)}</code>
                        </th>
                        <td>
                          <code>{text(one.value)}</code>
                        </td>
                        <td>{one.origin === "default" ? "default" : <Tag kind="live">{one.origin}</Tag>}</td>
                        <td>
                          {KEYS[one.key]?.about}
                          {one.value === null && KEYS[one.key]?.example && (
                            <span class="small">
                              For example <code>{KEYS[one.key]?.example}</code>
                            </span>
                          )}
                        </td>
                      </tr>
                    ))}
                  </Table>
                </Section>
              ))}
            </>
          );
        }}
      </Shown>
    </>
  );
}

function sectionsOf(settings: readonly Setting[]): [string, Setting[]][] {
  const found = new Map<string, Setting[]>();
  for (const one of settings) {
    const name = one.key.slice(0, one.key.lastIndexOf("."));
    found.set(name, [...(found.get(name) ?? []), one]);
  }
  return [...found];
}

function text(value: unknown): string {
  if (value === null || value === undefined) return "not set";
  if (Array.isArray(value)) return value.length ? value.map(text).join(", ") : "none";
  return typeof value === "string" ? value : JSON.stringify(value);
}
