"""Access YouTube through yt-dlp in a child process, which `process` starts and `child` implements.

A child has yt-dlp imported (`fork_server`) and serves one operation at a time. Protocol, as JSON lines over a socket:

    parent -> child   {"op": "list", "request": {...}, "options": {...}}
    child -> parent   {"message": {...}}                  messages of the operation, in order
                      {"alive": true}                     every second during the operation
                      {"done": true} or {"error": {...}}  the end; errors are `facts.ErrorFacts`

An operation is a module with

    def run(request: dict[str, Any], options: dict[str, Any], emit: Callable[[dict[str, Any]], None]) -> None

`request` depends on the operation; `options` are YoutubeDL options (plain JSON) from `options.base_options` in the
parent; `emit` sends a message to the parent's `on_message`. Exceptions such as yt_dlp.utils.DownloadError propagate:
the child converts them to facts, and `classify.classify` in the parent classifies them. An operation creates its
YoutubeDL with `session.make_ydl(options)`, whose logger collects the warnings for the facts. Operations: `fetch` (one
video and its files), `list` (module `listing`, a flat listing), `look` (what is new in a channel or playlist), `offer`
(the streams of one video), `try` (module `trial`: whether a new yt-dlp works with us, without network).
"""
