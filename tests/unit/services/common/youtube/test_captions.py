"""Which caption track is taken for a language, and what is no caption track."""

from pathlib import Path

import pytest

from services.common.youtube.child.captions import MAX_BYTES, choose_track, problem_of


def tracks(*names: str) -> dict[str, list[dict[str, str]]]:
    """Return tracks as yt-dlp lists them. A name such as `de<ko` is a machine translation into de."""
    found = {}
    for name in names:
        language, _, source = name.partition("<")
        url = f"https://www.youtube.com/api/timedtext?lang={source or language}" + (
            f"&tlang={language}" if source else ""
        )
        found[language] = [{"ext": ext, "url": f"{url}&fmt={ext}", "name": name} for ext in ("json3", "vtt")]
    return found


@pytest.mark.parametrize(
    ("language", "manual", "automatic", "expected"),
    [
        ("en", ("en",), ("en",), "manual en"),
        ("en", ("en-GB", "en-US"), ("en",), "manual en-US"),
        ("en", ("de",), ("en",), "automatic en"),
        ("en", (), ("en-orig",), "automatic en-orig"),
        ("en-US", ("en",), (), "manual en"),
        ("en-US", ("en-GB",), ("en-US",), "manual en-GB"),
        ("pt", ("pt-BR",), (), "manual pt-BR"),
        ("pt-BR", ("pt",), (), "manual pt"),
        ("he", ("iw",), (), "manual iw"),
        ("iw", (), ("he",), "automatic he"),
        ("zh-Hans", ("zh-CN", "zh-TW"), ("zh-Hans<en",), "manual zh-CN"),
        ("zh-Hant", ("zh-CN",), (), None),
        ("EN", ("en",), (), "manual en"),
        ("en", ("eng",), (), "manual eng"),
        ("en", ("english",), ("x-nonsense",), None),
        ("fr", (), (), None),
        ("en", ("live_chat",), (), None),
        # machine translations
        ("en", (), ("ko", "ko-orig", "en<ko"), None),
        ("en~", (), ("ko", "ko-orig", "en<ko"), "automatic en<ko"),
        ("en~", ("en-GB",), ("en<ko",), "manual en-GB"),
        ("ko~", (), ("ko-orig", "en<ko"), "automatic ko-orig"),
    ],
)
def test_tags_are_compared_as_languages_and_people_come_before_machines(
    language: str, manual: tuple[str, ...], automatic: tuple[str, ...], expected: str | None
) -> None:
    written, recognised = tracks(*manual), tracks(*automatic)
    track = choose_track(language, written, recognised)
    found = None
    if track is not None:
        assert track["ext"] == "vtt"
        kind = "manual" if any(track in formats for formats in written.values()) else "automatic"
        found = f"{kind} {track['name']}"
    assert found == expected


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"WEBVTT\n\n00:00:00.000 --> 00:00:01.000\nhello\n", None),
        (b"\xef\xbb\xbfWEBVTT\n", None),
        (b"<html>Sorry</html>", "not WebVTT"),
        (b"", "not WebVTT"),
        (b"WEBVTT\n\xff\xfe", "not WebVTT"),
        (b"WEBVTT\n" + b"x" * MAX_BYTES, "bytes, more than"),
    ],
)
def test_a_download_that_is_not_webvtt_is_no_caption(tmp_path: Path, content: bytes, problem: str | None) -> None:
    file = tmp_path / "x.vtt"
    file.write_bytes(content)
    found = problem_of(file)
    assert (found is None) == (problem is None)
    assert problem is None or problem in str(found)
