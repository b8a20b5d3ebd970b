"""The Data API: classification of errors, parsing of resources, precedence of API keys."""

import json
from pathlib import Path
from typing import Any

import pytest

from services.common.domain.replies import ClaimAnswer, ClaimVerdict
from services.common.domain.videos import Target, TargetKind
from services.common.events import JobQueued
from services.common.models import JobOptions, JobType
from services.common.settings.load import load_config
from services.metadata.data_api.errors import RefusalKind, classify_response
from services.metadata.data_api.keys import OF_JOB, ApiKey, ApiKeys
from services.metadata.data_api.resources import (
    entry_of,
    item_video,
    playlist_metadata,
    uploads_metadata,
    video_metadata,
)
from services.metadata.lister import ClaimedSource
from services.metadata.source_selection import SourceSelection
from services.metadata.sources import GivenSource

VIDEO = "dQw4w9WgXcQ"
CHANNEL = "UCuAXFkgsw1L7xaCfnd5JJOw"


def error(code: int, message: str, *reasons: str, details: list[dict[str, Any]] | None = None) -> bytes:
    body: dict[str, Any] = {"code": code, "message": message, "errors": [{"reason": reason} for reason in reasons]}
    return json.dumps({"error": body | ({"details": details} if details else {})}).encode()


_NOT_VALID = "API key not valid. Please pass a valid API key."


@pytest.mark.parametrize(
    ("status", "content", "kind"),
    [
        (400, error(400, "Bad Request", "keyInvalid"), RefusalKind.KEY),
        (400, error(400, _NOT_VALID, "badRequest", details=[{"reason": "API_KEY_INVALID"}]), RefusalKind.KEY),
        (400, error(400, _NOT_VALID, "badRequest"), RefusalKind.KEY),
        (400, error(400, "API key expired. Please renew the API key.", "badRequest"), RefusalKind.KEY),
        (403, error(403, "YouTube Data API v3 has not been used in project 1", "accessNotConfigured"), RefusalKind.KEY),
        (403, error(403, "Blocked.", "forbidden", details=[{"reason": "API_KEY_SERVICE_BLOCKED"}]), RefusalKind.KEY),
        (403, error(403, "The request cannot be completed", "quotaExceeded"), RefusalKind.QUOTA),
        (403, error(403, "Daily Limit Exceeded", "dailyLimitExceeded"), RefusalKind.QUOTA),
        (429, error(429, "Quota exceeded for quota metric 'Queries' and limit 'Queries per day'", "rateLimitExceeded"),
         RefusalKind.QUOTA),
        (429, error(429, "Quota exceeded for limit 'Queries per minute'", "rateLimitExceeded"), RefusalKind.PASSING),
        (403, error(403, "Too fast", "userRateLimitExceeded"), RefusalKind.PASSING),
        (503, b"<html>busy</html>", RefusalKind.PASSING),
        (500, error(500, "Internal", "backendError"), RefusalKind.PASSING),
        (400, error(400, "Bad token", "invalidPageToken"), RefusalKind.PAGE_TOKEN),
        (404, error(404, "Cannot be found", "playlistNotFound"), RefusalKind.UNABLE),
        (403, error(403, "Not accessible", "playlistItemsNotAccessible"), RefusalKind.UNABLE),
        (400, error(400, "Bad Request", "badRequest"), RefusalKind.UNABLE),
        (404, b"[]", RefusalKind.UNABLE),
    ],
)  # fmt: skip
def test_an_error_response_is_classified_by_status_reason_and_message(
    status: int, content: bytes, kind: RefusalKind
) -> None:
    assert classify_response(status, content, "a-key").kind is kind


def test_the_message_of_a_refusal_contains_no_api_key_and_no_markup() -> None:
    refused = classify_response(
        403, error(403, 'Key my-odd-key, see <a href="/x">quota</a>. ' + "x" * 9999, "quotaExceeded"), "my-odd-key"
    )
    assert "my-odd-key" not in refused.message
    assert "see quota." in refused.message
    assert len(refused.message) <= 500
    assert refused.reason == "quotaExceeded"


# --- resources ----------------------------------------------------------------------------------------------------


def test_a_video_resource_is_converted_to_the_vocabulary_of_yt_dlp() -> None:
    metadata = video_metadata(
        {
            "id": VIDEO,
            "snippet": {
                "publishedAt": "2009-10-25T06:57:33Z", "channelId": CHANNEL, "title": "Half a \ud83d pair",
                "channelTitle": "A channel", "tags": ["a", "b"], "categoryId": "27", "liveBroadcastContent": "none",
                "defaultAudioLanguage": "en",
                "thumbnails": {"high": {"url": "h", "width": 480}, "default": {"url": "d", "width": 120}},
            },
            "contentDetails": {"duration": "PT1H2M3S", "contentRating": {"ytRating": "ytAgeRestricted"}},
            "status": {"license": "creativeCommon", "privacyStatus": "unlisted"},
            "statistics": {"viewCount": "12", "commentCount": "0"},
        }
    )  # fmt: skip
    assert (metadata.title, metadata.upload_date, metadata.duration_seconds) == ("Half a ? pair", "2009-10-25", 3723.0)
    assert (metadata.view_count, metadata.like_count, metadata.comment_count) == (12, None, 0)
    assert (metadata.categories, metadata.tags, metadata.age_limit) == (["Education"], ["a", "b"], 18)
    assert (metadata.availability, metadata.live_status, metadata.language) == ("unlisted", "not_live", "en")
    assert metadata.license == "Creative Commons Attribution license (reuse allowed)"
    assert [image["id"] for image in metadata.thumbnails] == ["default", "high"]
    assert metadata.webpage_url == f"https://www.youtube.com/watch?v={VIDEO}"
    metadata.model_dump_json().encode()


def test_a_video_resource_with_few_fields_is_converted() -> None:
    metadata = video_metadata(
        {"id": VIDEO, "contentDetails": {"duration": "P0D"}, "snippet": {"liveBroadcastContent": "upcoming"}}
    )
    assert (metadata.title, metadata.duration_seconds, metadata.live_status) == (VIDEO, None, "is_upcoming")


def test_an_ended_live_stream_has_the_status_was_live() -> None:
    stream = {"actualEndTime": "2026-01-01T00:00:00Z"}
    assert video_metadata({"id": VIDEO, "liveStreamingDetails": stream}).live_status == "was_live"


def test_a_channel_resource_is_converted_to_the_playlist_of_its_uploads() -> None:
    channel = {
        "id": CHANNEL,
        "snippet": {"title": "A channel", "description": "About", "customUrl": "@achannel"},
        "contentDetails": {"relatedPlaylists": {"uploads": f"UU{CHANNEL[2:]}"}},
        "statistics": {"videoCount": "7"},
    }
    uploads = uploads_metadata(channel)
    assert uploads is not None
    assert (uploads.playlist_id, uploads.title, uploads.channel_handle) == (
        f"UU{CHANNEL[2:]}",
        "A channel",
        "@achannel",
    )
    assert (uploads.channel_id, uploads.entry_count) == (CHANNEL, 7)
    minimal = uploads_metadata({"id": CHANNEL})
    assert minimal is not None
    assert minimal.playlist_id == f"UU{CHANNEL[2:]}"
    assert uploads_metadata({"id": "nonsense"}) is None


def test_a_playlist_resource_is_converted() -> None:
    playlist = playlist_metadata({"id": "PLx", "snippet": {"title": "T"}, "contentDetails": {"itemCount": 12}})
    assert (playlist.playlist_id, playlist.title, playlist.entry_count) == ("PLx", "T", 12)


@pytest.mark.parametrize(
    ("privacy", "title", "marked", "shown"),
    [
        ("private", "Private video", "private", None),
        ("privacyStatusUnspecified", "Deleted video", "deleted", None),
        ("public", "A video that videos.list left out", None, "A video that videos.list left out"),
    ],
)
def test_an_item_without_metadata_is_marked_private_or_deleted_by_its_status(
    privacy: str, title: str, marked: str | None, shown: str | None
) -> None:
    item = {"snippet": {"title": title}, "contentDetails": {"videoId": VIDEO}, "status": {"privacyStatus": privacy}}
    assert item_video(item) == VIDEO
    entry = entry_of(item, VIDEO, 7, None)
    assert (entry.marked, entry.title, entry.position, entry.described) == (marked, shown, 7, False)


def test_an_item_with_metadata_is_not_marked() -> None:
    described = video_metadata({"id": VIDEO, "snippet": {"title": "T"}, "contentDetails": {"duration": "PT5S"}})
    entry = entry_of({"status": {"privacyStatus": "private"}}, VIDEO, 0, described)
    assert (entry.marked, entry.title, entry.duration_seconds, entry.described) == (None, "T", 5.0, True)


def test_an_item_without_a_valid_video_id_is_not_a_video() -> None:
    assert item_video({"contentDetails": {"videoId": "../../etc"}}) is None
    assert item_video({"snippet": {"resourceId": {"videoId": VIDEO}}}) == VIDEO
    assert item_video({}) is None


# --- API keys -----------------------------------------------------------------------------------------------------


def keys_of(tmp_path: Path, env: dict[str, str], file: str = "") -> ApiKeys:
    path = tmp_path / "config.toml"
    path.write_text(file)
    return ApiKeys(load_config(path, env=env))


def test_the_key_of_a_job_precedes_the_environment_which_precedes_the_file(tmp_path: Path) -> None:
    in_file = '[youtube]\napi_key = "of-file"\n'
    keys = keys_of(tmp_path, {}, in_file)
    assert keys.of("j") == ApiKey("of-file", f"[youtube] api_key in {tmp_path / 'config.toml'}")
    keys = keys_of(tmp_path, {"YOUTUBE_API_KEY": "of-variable"}, in_file)
    assert keys.of("j") == ApiKey("of-variable", "YOUTUBE_API_KEY")
    assert keys.offer("j", " of-job ")
    assert keys.of("j") == ApiKey("of-job", OF_JOB)
    assert keys.of("other") == ApiKey("of-variable", "YOUTUBE_API_KEY")


def test_without_a_configured_key_there_is_none_and_a_blank_key_is_refused(tmp_path: Path) -> None:
    keys = keys_of(tmp_path, {})
    assert not keys.offer("j", "  ")
    assert keys.of("j") is None


def test_the_repr_of_an_api_key_does_not_contain_the_key(tmp_path: Path) -> None:
    keys = keys_of(tmp_path, {"YOUTUBE_API_KEY": "of-variable"})
    assert "of-variable" not in repr(keys.of("j"))


def queued(kind: TargetKind, type: JobType = JobType.PLAYLIST_DOWNLOAD, *, metadata: bool = True) -> JobQueued:
    return JobQueued(
        job_id="j", type=type, root="/r", options=JobOptions(include_metadata=metadata),
        target=Target(kind=kind, id="x"), target_index=0, listing=1,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("key", "job", "sources"),
    [
        (False, queued(TargetKind.PLAYLIST), ["given"]),
        (True, queued(TargetKind.PLAYLIST), ["data_api", "given"]),
        (True, queued(TargetKind.VIDEOS), ["data_api", "given"]),
        (True, queued(TargetKind.PLAYLIST, metadata=False), ["given"]),
        (True, queued(TargetKind.VIDEOS, metadata=False), ["given"]),
        (True, queued(TargetKind.PLAYLIST, JobType.METADATA_ONLY, metadata=False), ["data_api", "given"]),
    ],
)
def test_the_data_api_is_the_first_source_if_there_is_a_key_and_metadata_is_wanted(
    tmp_path: Path, key: bool, job: JobQueued, sources: list[str]
) -> None:
    async def claim(_queued: JobQueued) -> ClaimAnswer:
        return ClaimAnswer(verdict=ClaimVerdict.GO)

    keys = keys_of(tmp_path, {"YOUTUBE_API_KEY": "k"} if key else {})
    selection = SourceSelection(keys, None, claim, ClaimedSource(GivenSource(), claim, "keyless"))  # type: ignore[arg-type]  # never called
    assert [claimed.source.name for claimed in selection.of(job)] == sources
