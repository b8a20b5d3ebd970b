"""Sample world of the demo and of most tests. The constants are the ids and names in it."""

from ytarchive.emulator.site.world import HEIGHTS, UHD_HEIGHTS, Channel, Playlist, Video, VideoKind, World

CHANNEL = "UCemulator0000000000demo"
CHANNEL_HANDLE = "@LoopbackLectures"
CHANNEL_OLD_NAME = "LoopbackLecturesOld"
UPLOADS_PLAYLIST = "UU" + CHANNEL[2:]
CHANNEL_UPLOADS = 36
OTHER_CHANNEL = "UCemulator000000000other"
OTHER_CHANNEL_HANDLE = "@SecondSource"

DEMO_PLAYLIST = "PLemulator0000000000000000000demo"
PLAYLIST_3 = "PLemulator00000000000000000000003"
PLAYLIST_20 = "PLemulator00000000000000000000020"
PLAYLIST_120 = "PLemulator00000000000000000000120"
PLAYLIST_250 = "PLemulator00000000000000000000250"
PLAYLIST_MISSING = "PLemulator000000000000000nowhere0"
PLAYLIST_250_DELETED = (7, 99, 100, 213)
PLAYLIST_250_PRIVATE = (8, 101, 249)

VIDEO_OK = "demo-000001"
VIDEO_TWO_CAPTIONS = "demo-000002"
VIDEO_NO_CAPTIONS = "demo-000003"
VIDEO_NO_MAXRES = "demo-000004"
VIDEO_HOSTILE_TITLE = "demo-000005"
VIDEO_DELETED = "demo-000006"
VIDEO_PRIVATE = "demo-000007"
VIDEO_480P = "demo-000008"
VIDEO_AUTO_CAPTIONS = "demo-000009"
VIDEO_2160P = "demo-000010"
VIDEO_UNICODE = "demo-000011"
VIDEO_LEADING_DASH = "-demo_00012"
VIDEO_LIVE = "live-now-01"
VIDEO_LARGE = "large-00001"
LARGE_SIZE = 12 * 1024 * 1024

HOSTILE_TITLE = (
    "Ha\x1b[31mrm\x1b]0;owned\x07less\r\n\x08 \u202egpj.exe\u202c ../../etc/passwd \u2066<b>&amp;</b>\u2069"
    ' $(reboot) `id` %(title)s {0} \\ / : * ? " < > | \u200b\U0001f4a5 </script><script>alert(1)</script>'
)


def kind_id(kind: VideoKind) -> str:
    """Return the id of the sample video of a kind."""
    return f"kind{kind.replace('_', '')}"[:11].ljust(11, "-")


KINDS: dict[str, str] = {kind.value: kind_id(kind) for kind in VideoKind if kind not in (VideoKind.OK, VideoKind.LIVE)}
"""Kind to video id: one sample video per reason for a refusal."""


def sample_world() -> World:
    """Create a new sample world, so that tests do not affect each other."""
    world = World()
    uploads = tuple(f"upload-{n:04d}" for n in range(CHANNEL_UPLOADS, 0, -1))
    world.add(
        Channel(
            CHANNEL,
            CHANNEL_HANDLE,
            "Loopback Lectures",
            "Short films that never leave this machine.",
            names=(CHANNEL_OLD_NAME,),
            uploads=uploads,
        ),
        Channel(OTHER_CHANNEL, OTHER_CHANNEL_HANDLE, "Second Source", "Others upload too."),
    )
    for number, video_id in enumerate(reversed(uploads), start=1):
        world.add(
            Video(
                video_id,
                f"Lecture {number}",
                CHANNEL,
                description=f"Lecture {number} of the loopback course.",
                upload_date=f"2024-{(number - 1) // 28 + 1:02d}-{(number - 1) % 28 + 1:02d}",
            )
        )
    _add_demo(world)
    _add_kinds(world)
    world.add_playlist_of(PLAYLIST_3, 3, channel=CHANNEL)
    world.add_playlist_of(PLAYLIST_20, 20, channel=CHANNEL)
    world.add_playlist_of(PLAYLIST_120, 120, channel=OTHER_CHANNEL, deleted=(5,), private=(110,))
    world.add_playlist_of(
        PLAYLIST_250, 250, channel=CHANNEL, deleted=PLAYLIST_250_DELETED, private=PLAYLIST_250_PRIVATE
    )
    world.add(Video(VIDEO_LIVE, "On air now", CHANNEL, captions=(), kind=VideoKind.LIVE))
    world.add(Video(VIDEO_LARGE, "A large file", CHANNEL, size=LARGE_SIZE))
    return world


def _add_demo(world: World) -> None:
    demo = (
        Video(
            VIDEO_OK,
            "Loopback, part 1: Hello",
            CHANNEL,
            description="The first film.\n\n0:00 Start\n0:01 End",
            tags=("loopback", "demo"),
        ),
        Video(VIDEO_TWO_CAPTIONS, "Part 2: in two languages", CHANNEL, captions=("en", "de")),
        Video(VIDEO_NO_CAPTIONS, "Part 3: nobody wrote it down", CHANNEL, captions=()),
        Video(
            VIDEO_NO_MAXRES,
            "Part 4: an old film",
            CHANNEL,
            upload_date="2006-05-06",
            heights=(144, 240, 360),
            thumbnails=("hqdefault", "mqdefault", "default"),
            webp=False,
        ),
        Video(VIDEO_HOSTILE_TITLE, HOSTILE_TITLE, OTHER_CHANNEL, description="\x1b[2J\u202eevil\r\nmore\x00end"),
        Video(VIDEO_DELETED, "Part 6: gone", CHANNEL, kind=VideoKind.DELETED),
        Video(VIDEO_PRIVATE, "Part 7: hidden", CHANNEL, kind=VideoKind.PRIVATE),
        Video(VIDEO_480P, "Part 8: nothing above 480p", CHANNEL, heights=(144, 240, 360, 480)),
        Video(VIDEO_AUTO_CAPTIONS, "Part 9: captions by machine", CHANNEL, captions=(), auto_captions=("en",)),
        Video(VIDEO_2160P, "Part 10: up to 2160p", CHANNEL, heights=(*HEIGHTS, *UHD_HEIGHTS)),
        Video(
            VIDEO_UNICODE,
            "Teil 11: Überraschung — 雨の日 🌧️ " + "lang " * 12,
            OTHER_CHANNEL,
            captions=("en", "pt-BR"),
        ),
        Video(VIDEO_LEADING_DASH, "Part 12: an id that looks like an option", CHANNEL),
    )
    world.add(*demo)
    world.add(
        Playlist(
            DEMO_PLAYLIST,
            "YTArchive demo",
            CHANNEL,
            description="Twelve short films, two of them no longer available.",
            entries=tuple(video.id for video in demo),
        )
    )


def _add_kinds(world: World) -> None:
    for kind, video_id in KINDS.items():
        world.add(Video(video_id, f"A video that is {kind.replace('_', ' ')}", CHANNEL, kind=VideoKind(kind)))
