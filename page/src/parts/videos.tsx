/** Videos as cards, rows and links. */
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import type { VideoRow } from "../data/api.ts";
import { urlOf } from "../data/client.ts";
import { bytes, clock, day } from "../data/units.ts";

export function watchUrl(videoId: string, at?: number): string {
  return at === undefined ? `/v/${videoId}` : `/v/${videoId}?at=${Math.floor(at)}`;
}

/** The small picture of an archived video, or a field with its first letters. */
export function Thumbnail({ videoId, title, root }: { videoId: string; title: string; root?: string }) {
  const [missing, setMissing] = useState(false);
  if (missing) return <span class="thumb none" aria-hidden="true">{title.slice(0, 2)}</span>;
  const src = urlOf("/api/v1/storage/videos/{video_id}/thumbnail", { video_id: videoId }, { root });
  return (
    <img
      class="thumb"
      src={src}
      alt=""
      loading="lazy"
      decoding="async"
      width={320}
      height={180}
      onError={() => setMissing(true)}
    />
  );
}

export function Cards({ children }: { children: ComponentChildren }) {
  return <ul class="cards">{children}</ul>;
}

export function VideoCard({ video, seen }: { video: VideoRow; seen?: number }) {
  return (
    <li class="card">
      <a href={watchUrl(video.video_id)}>
        <span class="frame">
          <Thumbnail videoId={video.video_id} title={video.title} />
          <span class="length">{clock(video.duration_seconds)}</span>
          {seen !== undefined && (
            <progress class="seen" max={1} value={seen} aria-label={`${Math.round(seen * 100)} % watched`} />
          )}
        </span>
        <span class="card-title">{video.title}</span>
      </a>
      <span class="card-about">
        {video.channel && <a href={channelUrl(video)}>{video.channel}</a>}
        <span>{[day(video.upload_date), video.qualities[0], bytes(video.bytes)].filter(Boolean).join(" · ")}</span>
      </span>
    </li>
  );
}

export function channelUrl(video: { channel_id: string | null; channel: string | null }): string {
  return `/c/${encodeURIComponent(video.channel_id ?? video.channel ?? "")}`;
}
