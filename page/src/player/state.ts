/** What plays. There is one player for the whole page: it goes on in a corner while one looks at something else. */
import { signal } from "@preact/signals";
import type { HeldCopy } from "../data/api.ts";
import { fileUrl, order, read } from "../data/client.ts";
import { announce } from "../parts/announcer.tsx";
import { actionOf, speedAfter } from "./keys.ts";

export interface Playing {
  videoId: string;
  title: string;
  channel: string | null;
  src: string;
  poster: string;
  /** Only sound is held. */
  audio: boolean;
  captions: readonly { language: string; src: string }[];
}

export const playing = signal<Playing | null>(null);
export const position = signal(0);
export const paused = signal(true);
export const speed = signal(1);
/** Where it was continued; null when it began at the beginning. */
export const continuedAt = signal<number | null>(null);
/** Why it does not play. */
export const failure = signal("");

const NOTE_EVERY = 10; // seconds
const FRAME = 1 / 30; // seconds; the rate of a file is not told to a page
let element: HTMLVideoElement | null = null;
let begin: number | null = null;
let play = false;
let noted = 0;

/** Return what a copy offers to play, or null when it has neither picture nor sound. */
export function playable(copy: HeldCopy, videoId: string, title: string, channel: string | null): Playing | null {
  const media = copy.files.find((file) => file.role === "video") ?? copy.files.find((file) => file.role === "audio");
  if (!media) return null;
  const picture = copy.files.find((file) => file.role === "thumbnail");
  return {
    videoId,
    title,
    channel,
    src: fileUrl(videoId, media.name, copy.root),
    poster: picture ? fileUrl(videoId, picture.name, copy.root) : "",
    audio: media.role === "audio",
    captions: copy.files.filter((file) => file.role === "caption")
      .map((file) => ({ language: file.language ?? "", src: fileUrl(videoId, file.name, copy.root) })),
  };
}

/** Show a video: at `at` seconds, else where somebody was. It begins to play after a click that led here. */
export async function show(next: Playing, at: number | null): Promise<void> {
  if (playing.value?.videoId === next.videoId) {
    if (at !== null) jump(at);
    return;
  }
  await note();
  failure.value = "";
  continuedAt.value = null;
  position.value = at ?? 0;
  begin = at;
  play = at !== null || navigator.userActivation?.hasBeenActive === true;
  if (at === null) {
    const state = await read("/api/v1/storage/watching/{video_id}", { path: { video_id: next.videoId } }).catch(() =>
      null
    );
    const was = state && !state.watched ? state.position_seconds ?? 0 : 0;
    if (was > 15) {
      begin = was;
      continuedAt.value = was;
    }
  }
  playing.value = next;
}

/** Take what plays away. */
export async function stop(): Promise<void> {
  await note();
  element?.pause();
  playing.value = null;
}

/** The element of the player, when it is there. */
export function attach(video: HTMLVideoElement | null): void {
  if (video === null && element !== null && position.value > 0) begin = position.value; // it may be shown again
  element = video;
  if (video) video.playbackRate = speed.value;
}

export function ready(): void {
  if (!element) return;
  if (begin !== null) element.currentTime = begin;
  begin = null;
  element.playbackRate = speed.value;
  if (play) element.play().catch(() => {}); // a browser may want a click first
  play = false;
}

export function moved(): void {
  if (!element) return;
  position.value = element.currentTime;
  if (!element.paused && Math.abs(element.currentTime - noted) >= NOTE_EVERY) void note();
}

export function stateChanged(): void {
  if (!element) return;
  paused.value = element.paused;
  if (element.paused) void note();
}

/** Tell the archive where somebody is. That it could not be told hurts nobody. */
export async function note(): Promise<void> {
  const video = playing.value;
  if (!element || !video || element.currentTime < 1 || begin !== null) return;
  noted = element.currentTime;
  const duration = Number.isFinite(element.duration) && element.duration > 0 ? element.duration : null;
  await order("POST /api/v1/storage/watching/{video_id}", {
    path: { video_id: video.videoId },
    body: { position_seconds: Math.min(noted, duration ?? noted), duration_seconds: duration },
  }).catch(() => {});
}

/** Go to a moment and play. */
export function jump(at: number): void {
  position.value = at;
  if (!element || element.readyState === 0) {
    begin = at;
    play = true;
    return;
  }
  element.currentTime = at;
  element.play().catch(() => {});
}

export function setSpeed(value: number): void {
  speed.value = value;
  if (element) element.playbackRate = value;
}

/** Do what a key means. Return whether it means something now. */
export function press(key: string): boolean {
  const action = actionOf(key);
  if (!action || !element || !playing.value) return false;
  switch (action.do) {
    case "toggle":
      if (element.paused) element.play().catch(() => {});
      else element.pause();
      break;
    case "seek":
      element.currentTime = Math.max(0, Math.min(element.currentTime + action.by, element.duration || Infinity));
      break;
    case "part":
      if (element.duration) element.currentTime = element.duration * action.of;
      break;
    case "frame":
      element.pause();
      element.currentTime = Math.max(0, element.currentTime + action.by * FRAME);
      break;
    case "speed":
      setSpeed(speedAfter(speed.value, action.by));
      announce(`Speed ${speed.value}`);
      break;
    case "mute":
      element.muted = !element.muted;
      announce(element.muted ? "Muted" : "Not muted");
      break;
    case "fullscreen":
      if (document.fullscreenElement) void document.exitFullscreen();
      else element.requestFullscreen?.().catch(() => {});
      break;
    case "picture":
      if (document.pictureInPictureElement) void document.exitPictureInPicture();
      else element.requestPictureInPicture?.().catch(() => {});
      break;
    case "captions":
      toggleCaptions(element);
  }
  return true;
}

function toggleCaptions(video: HTMLVideoElement): void {
  const tracks = [...video.textTracks];
  const shown = tracks.findIndex((track) => track.mode === "showing");
  for (const track of tracks) track.mode = "disabled";
  const next = tracks[shown + 1];
  if (next) next.mode = "showing";
  announce(next ? `Captions: ${next.label}` : tracks.length ? "Captions off" : "This video has no captions");
}
