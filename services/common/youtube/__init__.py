"""YouTube through yt-dlp, in a child process: started and killed by `process`, its requests served by `child`.

The child imports yt-dlp once and serves one operation at a time, JSON lines in and out:

    parent -> child   {"op": "list", "request": {...}, "options": {...}}
    child -> parent   {"message": {...}}                  what the operation emits, in order
                      {"alive": true}                     every second while it works
                      {"done": true} or {"error": {...}}  the end; the facts of an error are `facts.ErrorFacts`

An operation is a module with

    def run(request: dict[str, Any], options: dict[str, Any], emit: Callable[[dict[str, Any]], None]) -> None

`request` is the operation's own; `options` are YoutubeDL options made by `options.base_options` in the parent (plain
JSON); `emit` sends one message to the parent's `on_message`. It lets yt_dlp.utils.DownloadError (and any other
exception) escape; the child turns it into facts, and `classify.classify` in the parent judges them, once. Inside an
operation, make the YoutubeDL object with `session.make_ydl(options)`: it sets up the logger whose warnings become
part of the facts. Operations: `fetch` (one video and its files), `list` (module `listing`, a flat listing), `offer`
(the streams of one video, and what would be chosen of them).
"""
