"""The unmodified google-api-python-client reads the emulator's Data API."""

from collections.abc import Iterator
from typing import Any

import pytest
from googleapiclient.discovery import build
from googleapiclient.errors import HttpError

from ytarchive.emulator import EmulatorClient
from ytarchive.emulator.site import sample

KEY = "loopback-key"


def client_of(emulator: EmulatorClient, key: str = KEY) -> Any:
    return build(
        "youtube",
        "v3",
        developerKey=key,
        static_discovery=True,
        client_options={"api_endpoint": emulator.api_endpoint},
    )


@pytest.fixture
def youtube(emulator: EmulatorClient) -> Iterator[Any]:
    with client_of(emulator) as youtube:
        yield youtube


def refusal(request: Any) -> tuple[int, str]:
    with pytest.raises(HttpError) as caught:
        request.execute()
    return caught.value.status_code, caught.value.error_details[0]["reason"]


def test_videos_have_the_requested_parts_and_missing_ones_are_omitted(youtube: Any) -> None:
    ids = [sample.VIDEO_OK, sample.VIDEO_DELETED, sample.VIDEO_PRIVATE, "nonexistent", sample.VIDEO_HOSTILE_TITLE]
    answer = youtube.videos().list(part="snippet,contentDetails", id=",".join(ids)).execute()

    first, second = answer["items"]
    assert (first["id"], second["id"]) == (sample.VIDEO_OK, sample.VIDEO_HOSTILE_TITLE)
    assert set(first) == {"kind", "id", "snippet", "contentDetails"}
    assert first["snippet"]["title"] == "Loopback, part 1: Hello"
    assert first["snippet"]["channelId"] == sample.CHANNEL
    assert first["contentDetails"]["duration"] == "PT2S"
    assert set(first["snippet"]["thumbnails"]) == {"maxres", "standard", "high", "medium", "default"}
    assert second["snippet"]["title"] == sample.HOSTILE_TITLE


def test_a_playlist_has_pages_of_50_and_marks_unavailable_videos(youtube: Any, emulator: EmulatorClient) -> None:
    items: list[dict[str, Any]] = []
    request = youtube.playlistItems().list(
        part="snippet,contentDetails,status", playlistId=sample.PLAYLIST_250, maxResults=50
    )
    while request is not None:
        answer = request.execute()
        assert answer["pageInfo"] == {"totalResults": 250, "resultsPerPage": 50}
        items += answer["items"]
        request = youtube.playlistItems().list_next(request, answer)

    assert [item["snippet"]["position"] for item in items] == list(range(250))
    titles = [item["snippet"]["title"] for item in items]
    assert [n for n, title in enumerate(titles) if title == "Deleted video"] == [*sample.PLAYLIST_250_DELETED]
    assert [n for n, item in enumerate(items) if item["status"]["privacyStatus"] == "private"] == [
        *sample.PLAYLIST_250_PRIVATE
    ]
    requests = emulator.log(kind="data_api")
    assert len(requests) == 5
    assert {entry["query"]["key"] for entry in requests} == {"***"}


def test_a_channel_by_handle_refers_to_its_uploads(youtube: Any) -> None:
    answer = youtube.channels().list(part="contentDetails", forHandle=sample.CHANNEL_HANDLE).execute()
    uploads = answer["items"][0]["contentDetails"]["relatedPlaylists"]["uploads"]
    assert uploads == sample.UPLOADS_PLAYLIST

    listed = youtube.playlistItems().list(part="contentDetails", playlistId=uploads, maxResults=50).execute()
    assert len(listed["items"]) == sample.CHANNEL_UPLOADS
    assert youtube.channels().list(part="id", forHandle="@nobody").execute()["items"] == []


def test_playlists_and_captions_are_listed(youtube: Any) -> None:
    answer = youtube.playlists().list(part="snippet,contentDetails", id=sample.DEMO_PLAYLIST).execute()
    assert answer["items"][0]["snippet"]["title"] == "YTArchive demo"
    assert answer["items"][0]["contentDetails"]["itemCount"] == 12

    tracks = youtube.captions().list(part="snippet", videoId=sample.VIDEO_TWO_CAPTIONS).execute()
    assert [track["snippet"]["language"] for track in tracks["items"]] == ["en", "de"]


def test_restricted_and_upcoming_videos_have_their_details(youtube: Any) -> None:
    ids = ",".join(sample.KINDS[kind] for kind in ("geo", "age", "upcoming"))
    answer = youtube.videos().list(part="contentDetails,snippet,liveStreamingDetails", id=ids).execute()

    geo, age, upcoming = answer["items"]
    assert geo["contentDetails"]["regionRestriction"] == {"allowed": ["DE", "FR"]}
    assert age["contentDetails"]["contentRating"] == {"ytRating": "ytAgeRestricted"}
    assert upcoming["snippet"]["liveBroadcastContent"] == "upcoming"
    assert upcoming["liveStreamingDetails"]["scheduledStartTime"].endswith("Z")


def test_errors_have_youtubes_status_and_reason(youtube: Any, emulator: EmulatorClient) -> None:
    videos = {"part": "id", "id": sample.VIDEO_OK}
    with client_of(emulator, "invalid-key") as unauthorized:
        assert refusal(unauthorized.videos().list(**videos)) == (400, "keyInvalid")
    assert refusal(youtube.playlistItems().list(part="id", playlistId=sample.PLAYLIST_MISSING)) == (
        404,
        "playlistNotFound",
    )
    assert refusal(youtube.captions().list(part="id", videoId=sample.VIDEO_DELETED)) == (404, "videoNotFound")
    too_many = ",".join(f"video-{n:05d}" for n in range(51))
    assert refusal(youtube.videos().list(part="id", id=too_many)) == (400, "invalidParameter")


def test_requests_fail_when_the_quota_is_used_up(youtube: Any, emulator: EmulatorClient) -> None:
    emulator.set_quota_left(51)
    youtube.captions().list(part="id", videoId=sample.VIDEO_OK).execute()
    youtube.videos().list(part="id", id=sample.VIDEO_OK).execute()

    assert refusal(youtube.videos().list(part="id", id=sample.VIDEO_OK)) == (403, "quotaExceeded")

    emulator.set_quota_left(None)
    assert youtube.videos().list(part="id", id=sample.VIDEO_OK).execute()["items"]


def test_faults_apply_to_the_data_api(youtube: Any, emulator: EmulatorClient) -> None:
    emulator.add_fault("data_api", "status", status=503, times=1)
    with pytest.raises(HttpError) as caught:
        youtube.videos().list(part="id", id=sample.VIDEO_OK).execute()
    assert caught.value.status_code == 503
    assert youtube.videos().list(part="id", id=sample.VIDEO_OK).execute()["items"]
