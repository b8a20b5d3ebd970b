"""Parsing of targets: tables of accepted and refused texts, and properties for arbitrary text."""

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.domain.videos import ChannelTab, Target, TargetKind
from services.common.errors import InvalidRequest
from services.common.targets import MAX_VIDEOS, ParsedTarget, digest, group_targets, parse_target, target_url
from services.common.validation import validate_playlist_id, validate_video_id

VIDEO = "dQw4w9WgXcQ"
LIST = "PLBB231211A4F62143"
ALBUM = "OLAK5uy_k6cDgTqPcHTcxGwC0GCYWuT1rQOwVcz4M"
EDITORS_MIX = "RDCLAK5uy_kmPRjHDECIcuVwnKsx2Ng7fyNgFKWNJFs"
UPLOADS = "UUuAXFkgsw1L7xaCfnd5JJOw"
CHANNEL = "UCuAXFkgsw1L7xaCfnd5JJOw"

VIDEOS = [
    VIDEO,
    f"  {VIDEO}\n",
    f"<{VIDEO}>",
    f"https://www.youtube.com/watch?v={VIDEO}",
    f"http://youtube.com/watch?v={VIDEO}",
    f"HTTPS://WWW.YouTube.COM/watch?v={VIDEO}",
    f"www.youtube.com/watch?v={VIDEO}",
    f"//m.youtube.com/watch?v={VIDEO}",
    f"youtube.com/watch?v={VIDEO}&t=42s#comments",
    f"https://www.youtube.com/watch?app=desktop&feature=share&v={VIDEO}&pp=ygUE",
    f"https://www.youtube.com/watch/{VIDEO}",
    f"https://www.youtube.com:443/watch?v={VIDEO}",
    f"https://www.youtube.com./watch?v={VIDEO}",
    f"<https://www.youtube.com/watch?v={VIDEO}>",
    f'"https://youtu.be/{VIDEO}",',
    f"\ufeffhttps://youtu.be/{VIDEO}\u200b",
    f"https://youtu.be/{VIDEO}",
    f"youtu.be/{VIDEO}?si=AbCdEf&t=1",
    f"https://youtu.be/{VIDEO}/",
    f"https://www.youtube.com/tv#/watch?v={VIDEO}",
    f"https://www.youtube.com/shorts/{VIDEO}?feature=share",
    f"https://youtube.com/live/{VIDEO}?si=x",
    f"https://www.youtube.com/embed/{VIDEO}?rel=0",
    f"https://www.youtube-nocookie.com/embed/{VIDEO}",
    f"https://www.youtube.com/v/{VIDEO}?version=3",
    f"https://youtube.googleapis.com/v/{VIDEO}",
    f"https://www.youtube.com/e/{VIDEO}",
    f"https://music.youtube.com/watch?v={VIDEO}&feature=share",
    f"https://www.youtubekids.com/watch?v={VIDEO}",
    f"https://www.youtube.com/watch\\?v\\={VIDEO}",
    f"https%3A%2F%2Fwww.youtube.com%2Fwatch%3Fv%3D{VIDEO}",
    f"https://www.youtube.com/attribution_link?a=x&u=%2Fwatch%3Fv%3D{VIDEO}%26feature%3Dshare",
    f"https://www.youtube.com/redirect?event=d&q=https%3A%2F%2Fyoutu.be%2F{VIDEO}",
    f"https://www.youtube.com/oembed?url=https%3A%2F%2Fyoutu.be%2F{VIDEO}&format=json",
    f"https://consent.youtube.com/m?continue=https%3A%2F%2Fwww.youtube.com%2Fwatch%3Fv%3D{VIDEO}&gl=DE",
    f"https://www.google.com/url?sa=t&q=https://www.youtube.com/watch%3Fv%3D{VIDEO}",
    # with an endless mix or a list of the viewer, the video is the target
    f"https://www.youtube.com/watch?v={VIDEO}&list=RD{VIDEO}&start_radio=1",
    f"https://www.youtube.com/watch?v={VIDEO}&list=RDMM{VIDEO}",
    f"https://www.youtube.com/watch?v={VIDEO}&list=RDAMVM{VIDEO}",
    f"https://www.youtube.com/watch?v={VIDEO}&list=WL&index=2",
    f"https://www.youtube.com/watch?v={VIDEO}&list=nonsense",
]

PLAYLISTS = [
    ("PLabcdefghijk", "PLabcdefghijk"),
    (LIST, LIST),
    (ALBUM, ALBUM),
    (UPLOADS, UPLOADS),
    ("FLuAXFkgsw1L7xaCfnd5JJOw", "FLuAXFkgsw1L7xaCfnd5JJOw"),
    (EDITORS_MIX, EDITORS_MIX),
    (f"https://www.youtube.com/playlist?list={LIST}", LIST),
    (f"m.youtube.com/playlist?list={LIST}&si=abc", LIST),
    (f"https://music.youtube.com/playlist?list={ALBUM}", ALBUM),
    (f"https://music.youtube.com/browse/VL{LIST}", LIST),
    (f"https://www.youtube.com/watch?v={VIDEO}&list={LIST}&index=3", LIST),
    (f"https://www.youtube.com/watch?v={VIDEO}&amp;list={LIST}", LIST),
    (f"https://www.youtube.com/watch?list={UPLOADS}&v={VIDEO}", UPLOADS),
    (f"https://www.youtube.com/watch?v={VIDEO}&list={EDITORS_MIX}", EDITORS_MIX),
    (f"https://www.youtube.com/watch?list={LIST}", LIST),
    (f"https://youtu.be/{VIDEO}?list={LIST}", LIST),
    (f"https://www.youtube.com/embed/videoseries?list={LIST}", LIST),
    (f"https://www.youtube.com/embed/{VIDEO}?list={LIST}", LIST),
]

CHANNELS = [
    (CHANNEL, CHANNEL),
    ("@LinusTechTips", "@LinusTechTips"),
    ("@日本語チャンネル", "@日本語チャンネル"),
    ("@हिन्दी_समाचार", "@हिन्दी_समाचार"),
    ("c/Vsauce", "c/Vsauce"),
    ("user/vsauce", "user/vsauce"),
    (f"https://www.youtube.com/channel/{CHANNEL}", CHANNEL),
    (f"https://www.youtube.com/channel/{CHANNEL}/about?x=0", CHANNEL),
    (f"https://music.youtube.com/browse/{CHANNEL}", CHANNEL),
    ("https://www.youtube.com/@LinusTechTips", "@LinusTechTips"),
    *((f"youtube.com/@LinusTechTips/{tab}", "@LinusTechTips") for tab in ("", "about", "featured")),
    ("https://m.youtube.com/@a.b-c_d?app=desktop", "@a.b-c_d"),
    ("https://www.youtube.com/@%E6%97%A5%E6%9C%AC%E8%AA%9E", "@日本語"),
    ("https://www.youtube.com/%40LinusTechTips", "@LinusTechTips"),
    ("https://www.youtube.com/c/%D0%98%D0%B3%D0%BE%D1%80%D1%8C/featured?view=1", "c/Игорь"),
    ("https://www.youtube.com/c/Vsauce/featured", "c/Vsauce"),
    ("https://www.youtube.com/user/vsauce", "user/vsauce"),
    ("https://www.youtube.com/veritasium", "c/veritasium"),
]

TABS = [
    ("https://www.youtube.com/@LinusTechTips/shorts", "@LinusTechTips", ChannelTab.SHORTS),
    ("@LinusTechTips/streams", "@LinusTechTips", ChannelTab.STREAMS),
    (f"https://www.youtube.com/channel/{CHANNEL}/videos?view=0&sort=p", CHANNEL, ChannelTab.VIDEOS),
    (f"{CHANNEL}/shorts", CHANNEL, ChannelTab.SHORTS),
    ("https://www.youtube.com/user/vsauce/Videos", "user/vsauce", ChannelTab.VIDEOS),
    ("c/vsauce/streams", "c/vsauce", ChannelTab.STREAMS),
    ("https://www.youtube.com/veritasium/shorts", "c/veritasium", ChannelTab.SHORTS),
]

REFUSED_WITH_A_REASON = [
    ("https://www.youtube.com/@LinusTechTips/live", "@LinusTechTips/streams"),
    ("https://www.youtube.com/@LinusTechTips/playlists", "URLs of the playlists themselves"),
    (f"https://www.youtube.com/channel/{CHANNEL}/search?query=x", "URLs of the videos"),
    ("https://www.youtube.com/c/vsauce/community", "posts are not archived"),
    ("https://www.youtube.com/@LinusTechTips/releases", "URLs of their playlists"),
    (f"https://www.youtube.com/embed/live_stream?channel={CHANNEL}", f"the stream itself, or {CHANNEL}/streams"),
    ("RDMM", "playlist of your own"),
    ("https://music.youtube.com/playlist?list=RDMM", "playlist of your own"),
]

REFUSED = [
    "",
    "   ",
    "\n",
    "hello",
    "hello world",
    "dQw4w9WgXc",
    "dQw4w9WgXcQQ",
    "dQw4w9WgXc!",
    "dQw4w9 WgXcQ",
    "dQw4w9W\x00gXcQ",
    "@ab",
    "@" + "a" * 31,
    "@../etc",
    "@.name",
    "@na\u202eme",
    "PL123",
    "XX" + "a" * 20,
    "UCshort",
    "../../etc",
    "/etc/passwd",
    "~/YTArchive",
    "c/..",
    "c/a/b",
    "user/",
    "file:///etc/passwd",
    "ftp://www.youtube.com/watch?v=dQw4w9WgXcQ",
    "javascript://www.youtube.com/watch?v=dQw4w9WgXcQ",
    "https://",
    "https://[::1",
    "https://youtube.com",
    "https://www.youtube.com/",
    "https://www.youtube.com/watch",
    "https://www.youtube.com/watch?v=",
    "https://www.youtube.com/watch?v=short",
    "https://www.youtube.com/watch?v=dQw4w9WgXcQ%00",
    "https://www.youtube.com/watch?v=dQw4w9WgXcQ&v\n=x",
    "https://www.youtube.com/shorts/",
    "https://www.youtube.com/playlist",
    "https://www.youtube.com/playlist?list=../../etc",
    "https://www.youtube.com/results?search_query=cats",
    "https://www.youtube.com/feed/subscriptions",
    "https://www.youtube.com/hashtag/cats",
    "https://www.youtube.com/clip/UgkxVZhfGEfKvNJOCUvCEIkPpDuWEbCUtCAg",
    "https://www.youtube.com/robots.txt",
    "https://www.youtube.com/..%2f..%2fetc",
    "https://www.youtube.com/c/..%2f..%2fetc",
    "https://www.youtube.com/channel/UCshort",
    "https://vimeo.com/76979871",
    "https://youtube.com.evil.example/watch?v=dQw4w9WgXcQ",
    "https://notyoutube.com/watch?v=dQw4w9WgXcQ",
    "https://www.youtube.com@evil.example/watch?v=dQw4w9WgXcQ",
    "https://evil.example/?u=https://www.youtube.com/watch?v=dQw4w9WgXcQ",
    "https://www.youtube.com/redirect?q=https://evil.example/watch?v=dQw4w9WgXcQ",
    "https://www.youtube.com/attribution_link?u=//evil.example/watch%3Fv%3DdQw4w9WgXcQ",
    "https://www.youtube.com/watch?v=dQw4w9WgXcQ&x=" + "a" * 2048,
]


@pytest.mark.parametrize("text", VIDEOS)
def test_a_video_url_or_id_is_parsed(text: str) -> None:
    assert parse_target(text) == ParsedTarget(TargetKind.VIDEOS, VIDEO)


@pytest.mark.parametrize("id", ["-demo_00012", "___________", "watch_later", "UCaaaaaaaaa", "PLaaaaaaaaa"])
def test_eleven_characters_are_a_video_id_whatever_their_prefix(id: str) -> None:
    assert parse_target(id) == ParsedTarget(TargetKind.VIDEOS, id)


@pytest.mark.parametrize(("text", "id"), PLAYLISTS)
def test_a_playlist_url_or_id_is_parsed(text: str, id: str) -> None:
    assert parse_target(text) == ParsedTarget(TargetKind.PLAYLIST, id)


@pytest.mark.parametrize(("text", "id"), CHANNELS)
def test_a_channel_url_or_handle_is_parsed(text: str, id: str) -> None:
    assert parse_target(text) == ParsedTarget(TargetKind.CHANNEL, id)


@pytest.mark.parametrize(("text", "id", "tab"), TABS)
def test_a_page_of_a_channel_means_the_uploads_on_it(text: str, id: str, tab: ChannelTab) -> None:
    assert parse_target(text) == ParsedTarget(TargetKind.CHANNEL, id, tab)
    assert group_targets([text]) == [Target(kind=TargetKind.CHANNEL, id=id, tab=tab)]
    assert digest([text]) not in {digest([id]), digest([f"{id}/{other}" for other in ChannelTab if other is not tab])}


@pytest.mark.parametrize(("text", "instead"), REFUSED_WITH_A_REASON)
def test_pages_that_are_no_list_of_videos_are_refused_with_what_to_give_instead(text: str, instead: str) -> None:
    with pytest.raises(InvalidRequest, match=re.escape(instead)):
        parse_target(text)


def test_an_ad_hoc_list_is_its_videos() -> None:
    other = "_______-abc"
    text = f"https://www.youtube.com/watch_videos?video_ids={VIDEO},{other},{VIDEO}&title=x"
    assert group_targets([text]) == [Target(kind=TargetKind.VIDEOS, video_ids=(VIDEO, other))]
    with pytest.raises(InvalidRequest):
        group_targets(["https://www.youtube.com/watch_videos?video_ids=a,b"])


@pytest.mark.parametrize(
    "text",
    [
        "https://www.youtube.com/embed/videoseries?list=RDdQw4w9WgXcQ",
        "https://www.youtube.com/s/player/base.js",
        "https://www.youtube.com/@LinusTechTips/nonsense",
    ],
)
def test_pages_that_look_like_a_video_or_a_channel_are_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_target(text)


@pytest.mark.parametrize("text", REFUSED)
def test_any_other_text_is_refused_with_the_accepted_forms(text: str) -> None:
    with pytest.raises(InvalidRequest, match="give the URL of a YouTube video") as refused:
        parse_target(text)
    assert refused.value.message.isprintable()
    assert len(refused.value.message) < 1000


@pytest.mark.parametrize(
    ("text", "id"),
    [
        ("WL", "WL"),
        ("LL", "LL"),
        ("https://music.youtube.com/playlist?list=LM", "LM"),
        ("https://www.youtube.com/playlist?list=WL", "WL"),
        ("youtube.com/watch?list=LL", "LL"),
    ],
)
def test_lists_of_an_account_are_parsed(text: str, id: str) -> None:
    assert parse_target(text) == ParsedTarget(TargetKind.PLAYLIST, id)


@pytest.mark.parametrize("text", ["MPREb_YVn9rqpXxhm", "https://music.youtube.com/browse/MPREb_YVn9rqpXxhm?si=x"])
def test_the_page_of_an_album_is_parsed(text: str) -> None:
    assert parse_target(text) == ParsedTarget(TargetKind.PLAYLIST, "MPREb_YVn9rqpXxhm")


def test_deeply_nested_redirect_links_are_refused() -> None:
    text = f"https://youtu.be/{VIDEO}"
    for _ in range(5):
        text = "https://www.youtube.com/redirect?q=" + text.replace("%", "%25").replace(":", "%3A").replace("?", "%3F")
    with pytest.raises(InvalidRequest):
        parse_target(text)


@given(st.text(max_size=200))
def test_any_text_is_either_parsed_or_refused(text: str) -> None:
    try:
        found = parse_target(text)
    except InvalidRequest as refused:
        assert refused.message.isprintable()
    else:
        assert parse_target(f"{found.id}/{found.tab}" if found.tab else found.id) == found


@given(st.sampled_from([*VIDEOS, *(text for text, _ in PLAYLISTS + CHANNELS)]), st.characters(), st.integers(0, 80))
def test_an_inserted_character_never_leads_to_another_site(text: str, inserted: str, place: int) -> None:
    try:
        found = parse_target(text[:place] + inserted + text[place:])
    except InvalidRequest:
        return
    match found.kind:
        case TargetKind.VIDEOS:
            assert validate_video_id(found.id)
        case TargetKind.PLAYLIST:
            assert validate_playlist_id(found.id)
        case TargetKind.CHANNEL:
            url = target_url(Target(kind=found.kind, id=found.id))
            assert set(url) <= set(string.ascii_letters + string.digits + "-._~%/:@")
            assert ".." not in url


def test_videos_are_grouped_and_duplicate_targets_dropped() -> None:
    targets = group_targets(
        [
            "aaaaaaaaaa1",
            LIST,
            "aaaaaaaaaa2",
            "https://youtu.be/aaaaaaaaaa1",
            "@SomeName",
            f"youtube.com/playlist?list={LIST}",
            "https://www.youtube.com/@somename/featured",
            "aaaaaaaaaa3",
        ]
    )
    assert targets == [
        Target(kind=TargetKind.VIDEOS, video_ids=("aaaaaaaaaa1", "aaaaaaaaaa2", "aaaaaaaaaa3")),
        Target(kind=TargetKind.PLAYLIST, id=LIST),
        Target(kind=TargetKind.CHANNEL, id="@SomeName"),
    ]


def test_a_group_of_videos_has_a_maximum_size() -> None:
    ids = [f"video{n:06d}" for n in range(250)]
    groups = group_targets(ids)
    assert [len(group.video_ids) for group in groups] == [MAX_VIDEOS, MAX_VIDEOS, 50]
    assert [video_id for group in groups for video_id in group.video_ids] == ids


def test_no_targets_give_no_groups() -> None:
    assert group_targets([]) == []


def test_all_refused_texts_are_named_in_the_error() -> None:
    with pytest.raises(InvalidRequest, match="first") as refused:
        group_targets(["first", VIDEO, "second"])
    assert "1 more" in refused.value.message
    assert [line.split("'")[1] for line in refused.value.details["refused"]] == ["first", "second"]


@pytest.mark.parametrize(
    ("kind", "id", "url"),
    [
        (TargetKind.PLAYLIST, LIST, f"https://www.youtube.com/playlist?list={LIST}"),
        (TargetKind.PLAYLIST, "WL", "https://www.youtube.com/playlist?list=WL"),
        (TargetKind.PLAYLIST, "MPREb_YVn9rqpXxhm", "https://music.youtube.com/browse/MPREb_YVn9rqpXxhm"),
        (TargetKind.CHANNEL, CHANNEL, f"https://www.youtube.com/channel/{CHANNEL}"),
        (TargetKind.CHANNEL, "@日本語", "https://www.youtube.com/@%E6%97%A5%E6%9C%AC%E8%AA%9E"),
        (TargetKind.CHANNEL, "c/Vsauce", "https://www.youtube.com/c/Vsauce"),
        (TargetKind.CHANNEL, "user/vsauce", "https://www.youtube.com/user/vsauce"),
    ],
)
def test_the_url_of_a_target_is_parsed_to_the_same_target(kind: TargetKind, id: str, url: str) -> None:
    target = Target(kind=kind, id=id)
    assert target_url(target) == url
    assert parse_target(url) == ParsedTarget(kind, id)


def test_equivalent_targets_have_the_same_digest() -> None:
    written = [f"https://youtu.be/{VIDEO}", "@SomeChannel", VIDEO]
    assert digest(written) == digest(["@somechannel", VIDEO])
    assert digest(written) != digest([VIDEO])
    assert digest(["not a target"]) != digest(["neither"])
