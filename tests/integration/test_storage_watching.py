"""What the page reads of a video: its small thumbnail, what is said in it, where somebody was."""

import json
from typing import Any

import aiohttp

from services.storage.watching import watching_path
from tests.fixtures.stack_client import Archive
from ytarchive.emulator.site import sample

JPEG = b"\xff\xd8\xff"


class Reader:
    """Requests to the storage service."""

    def __init__(self, archive: Archive, http: aiohttp.ClientSession) -> None:
        self._base = f"{archive.stack.services['storage'].url}/api/v1/storage"
        self._http = http

    async def get(self, path: str) -> tuple[int, Any]:
        """Return the status, and the bytes of a picture or the data of an answer."""
        async with self._http.get(f"{self._base}/{path}") as answer:
            body = await answer.read()
            return answer.status, json.loads(body)["data"] if answer.content_type == "application/json" else body

    async def post(self, path: str, **body: Any) -> int:
        async with self._http.post(f"{self._base}/{path}", json=body) as answer:
            return answer.status


async def test_small_thumbnails_are_made_once(archive: Archive, web_client: aiohttp.ClientSession) -> None:
    await archive.wait_for_end(await archive.create(sample.VIDEO_OK, type="video_download"))
    reader = Reader(archive, web_client)
    original = archive.root / "videos" / sample.VIDEO_OK / f"{sample.VIDEO_OK}_thumb.jpg"

    status, picture = await reader.get(f"videos/{sample.VIDEO_OK}/thumbnail")
    assert (status, picture[:3]) == (200, JPEG)
    assert len(picture) < original.stat().st_size

    kept = archive.stack.config.storage.base_data_dir / "thumbnails"
    (small,) = kept.rglob("*.jpg")
    made = small.stat().st_mtime_ns
    assert await reader.get(f"videos/{sample.VIDEO_OK}/thumbnail") == (200, picture)
    assert small.stat().st_mtime_ns == made
    assert list(kept.rglob(".*")) == []

    small.unlink()  # the folder may be emptied at any time
    assert (await reader.get(f"videos/{sample.VIDEO_OK}/thumbnail"))[0] == 200
    small.unlink()
    original.write_bytes(b"not a picture at all")  # what cannot be scaled is shown as it is
    assert await reader.get(f"videos/{sample.VIDEO_OK}/thumbnail") == (200, b"not a picture at all")
    original.unlink()
    original.symlink_to("/etc/hostname")  # and no link is followed
    assert (await reader.get(f"videos/{sample.VIDEO_OK}/thumbnail"))[0] == 404
    assert await reader.get("videos/never-saved/thumbnail") == (204, b"")


async def test_what_is_said_and_where_somebody_was(archive: Archive, web_client: aiohttp.ClientSession) -> None:
    await archive.wait_for_end(await archive.create(sample.VIDEO_TWO_CAPTIONS, type="video_download"))
    reader = Reader(archive, web_client)
    video = sample.VIDEO_TWO_CAPTIONS
    assert await reader.get(f"videos/{video}/captions/en") == (
        200,
        {
            "video_id": video,
            "language": "en",
            "lines": [
                {"start_seconds": 0.0, "text": f"{video} says hello (en)"},
                {"start_seconds": 1.0, "text": "and goodbye"},
            ],
        },
    )
    assert (await reader.get(f"videos/{video}/captions/fr"))[0] == 404
    assert (await reader.get(f"videos/{video}/captions/..%2Fen"))[0] == 404

    path = watching_path(archive.stack.config.storage.base_data_dir)
    assert not path.exists()  # until somebody watches
    status, state = await reader.get(f"watching/{video}")
    assert (status, state["at"], state["watched"]) == (200, None, False)
    assert await reader.post(f"watching/{video}", position_seconds=62.5, duration_seconds=600) == 200
    assert await reader.post("watching/never-saved", position_seconds=62.5, duration_seconds=600) == 200
    _, page = await reader.get("watching")
    assert [(row["video_id"], row["state"]["position_seconds"]) for row in page["videos"]] == [(video, 62.5)]
    assert page["videos"][0]["title"] == "Part 2: in two languages"

    for body in ({"position_seconds": -1}, {"position_seconds": "NaN"}, {"position_seconds": 1, "root": "/"}, {}):
        assert await reader.post(f"watching/{video}", **body) == 400
    assert await reader.post(f"watching/{video}", position_seconds=580, duration_seconds=600) == 200
    assert (await reader.get(f"watching/{video}"))[1]["watched"] is True
    assert (await reader.get("watching"))[1]["total"] == 0
    for watched, number in (("true", 1), ("false", 0)):
        assert (await reader.get(f"videos?watched={watched}"))[1]["total"] == number
        assert (await reader.get(f"facets?watched={watched}"))[1]["total"] == number
    assert await reader.post(f"watching/{video}", position_seconds=580, duration_seconds=600, watched=False) == 200
    assert (await reader.get("watching"))[1]["total"] == 1
