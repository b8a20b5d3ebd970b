/** The player: large on the page of its video, in a corner elsewhere. */
import { useLocation } from "preact-iso";
import { useEffect, useState } from "preact/hooks";
import { awaitsLetter, writes } from "../parts/keys.tsx";
import { watchUrl } from "../parts/videos.tsx";
import { attach, failure, moved, note, paused, playing, press, ready, stateChanged, stop } from "./state.ts";

export function Stage() {
  const { path } = useLocation();
  const video = playing.value;
  const large = video !== null && path === `/v/${video.videoId}`;
  const [kept, keep] = useState(false);
  useEffect(() => keep(large || !paused.value), [large]);

  useEffect(() => {
    const pressed = (event: KeyboardEvent) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || writes(event.target)) return;
      if (awaitsLetter() || document.querySelector("dialog[open]")) return;
      const control = event.target instanceof HTMLElement && event.target.closest("button, a, summary, [role=tab]");
      if (event.key === " " && control) return; // it presses what has the focus
      if (event.target instanceof HTMLVideoElement && [" ", "ArrowLeft", "ArrowRight"].includes(event.key)) {
        // the browser's own controls would do it a second time
        event.stopPropagation();
      }
      if (press(event.key)) event.preventDefault();
    };
    const left = () => void note();
    document.addEventListener("keydown", pressed, { capture: true });
    document.addEventListener("visibilitychange", left);
    return () => {
      document.removeEventListener("keydown", pressed, { capture: true });
      document.removeEventListener("visibilitychange", left);
    };
  }, []);

  useEffect(() => {
    if (!video || !("mediaSession" in navigator)) return;
    navigator.mediaSession.metadata = new MediaMetadata({
      title: video.title,
      artist: video.channel ?? "",
      artwork: video.poster ? [{ src: new URL(video.poster, location.href).href }] : [],
    });
  }, [video]);

  if (!video || (!large && !kept)) return null;
  return (
    <section class={large ? "stage" : "stage corner"} aria-label="Player">
      <video
        key={video.src}
        ref={attach}
        class={video.audio ? "player sound" : "player"}
        controls
        playsInline
        preload="metadata"
        {...(video.poster ? { poster: video.poster } : {})}
        src={video.src}
        onLoadedMetadata={ready}
        onTimeUpdate={moved}
        onPlay={stateChanged}
        onPause={stateChanged}
        onEnded={stateChanged}
        onError={(event) => {
          const error = event.currentTarget.error;
          failure.value = error?.code === MediaError.MEDIA_ERR_SRC_NOT_SUPPORTED
            ? "This browser does not play the format of this video."
            : "The video cannot be played: the connection was lost, or the file is damaged.";
        }}
      >
        {video.captions.map((one) => (
          <track
            key={one.language}
            kind="captions"
            src={one.src}
            srclang={one.language}
            label={languageName(one.language)}
          />
        ))}
      </video>
      {!large && (
        <div class="corner-bar">
          <a href={watchUrl(video.videoId)}>{video.title}</a>
          <button type="button" aria-label="Stop and close the player" onClick={() => void stop()}>✕</button>
        </div>
      )}
    </section>
  );
}

/** "de" → "German"; a code that nobody knows stays what it is. */
export function languageName(code: string): string {
  try {
    return new Intl.DisplayNames(["en"], { type: "language" }).of(code.replace("_", "-")) ?? code;
  } catch {
    return code || "unknown";
  }
}
