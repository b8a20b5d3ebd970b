"""The YoutubeDL of a child is yt-dlp's own, without what we do not need."""

import yt_dlp

from services.common.youtube.child.session import Session


def extractors(ydl: yt_dlp.YoutubeDL) -> list[str]:
    return [extractor.ie_key() for extractor in ydl._ies.values()]


def test_it_has_the_extractors_of_yt_dlp_in_their_order() -> None:
    with yt_dlp.YoutubeDL({"quiet": True}) as theirs:
        assert extractors(Session({"quiet": True}).ydl) == extractors(theirs)
