"""The YoutubeDL of a child has the extractors that we use, and no others."""

import yt_dlp

from services.common.youtube.child.session import EXTRACTORS, Session


def test_it_has_the_extractors_of_our_requests() -> None:
    with yt_dlp.YoutubeDL({"quiet": True}) as theirs:
        wanted = {name: theirs._ies[name] for name in EXTRACTORS}
    assert Session({"quiet": True}).ydl._ies == wanted
