"""The request log: numbers, filters, masked keys."""

from ytarchive.emulator.transport.request_log import RequestLog


async def test_the_log_keeps_counting_after_clear_and_masks_keys() -> None:
    log = RequestLog()
    first = log.begin("data_api", "GET", "127.0.0.1", "/youtube/v3/videos", {"key": "secret", "id": "a"})
    log.clear()
    second = log.begin("watch", "GET", "www.youtube.com", "/watch", {}, video_id="a")

    assert first.query == {"key": "***", "id": "a"}
    assert (first.n, second.n, log.last) == (1, 2, 2)
    assert log.entries(since=1, kind="watch", video_id="a") == [second]
    assert log.entries(since=2) == []
    assert await log.wait_for(kind="media", timeout=0.01) == []
