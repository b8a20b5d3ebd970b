/** `/v/{id}`: the player, and all that is known of a video. */
import type { FileFact } from "../data/api.ts";
import { fileUrl } from "../data/client.ts";
import { useRead } from "../data/read.ts";
import { bytes } from "../data/units.ts";
import { Facts, Heading, Notice, Section, Shown } from "../parts/basics.tsx";

export function Watch({ id }: { id: string }) {
  const held = useRead("/api/v1/storage/exists/{video_id}", { path: { video_id: id }, topics: ["video"] });
  const described = useRead("/api/v1/storage/metadata/{video_id}", { path: { video_id: id } });
  const metadata = described.data?.metadata as
    | { title?: string; description?: string; channel?: string }
    | null
    | undefined;
  return (
    <>
      <Heading title={metadata?.title ?? id} about={metadata?.channel} />
      <Shown of={held}>
        {(existence) => {
          const copy = existence.copies[0];
          const file = copy?.files.find((one: FileFact) => one.role === "video");
          if (!copy || !file) return <Notice kind="warn">The archive has no picture of this video.</Notice>;
          return (
            <>
              <video class="player" controls preload="metadata" src={fileUrl(id, file.name)}>
                {copy.files.filter((one) => one.role === "caption").map((one) => (
                  <track
                    key={one.name}
                    kind="captions"
                    src={fileUrl(id, one.name)}
                    srclang={one.language ?? "en"}
                    label={one.language ?? "captions"}
                  />
                ))}
              </video>
              <Section title="Files">
                <Facts
                  rows={copy.files.map((one) =>
                    [one.name, <a key={one.name} href={fileUrl(id, one.name)}>{bytes(one.size)}</a>] as const
                  )}
                />
              </Section>
            </>
          );
        }}
      </Shown>
      {metadata?.description && (
        <Section title="Description">
          <p class="prose">{metadata.description}</p>
        </Section>
      )}
    </>
  );
}
