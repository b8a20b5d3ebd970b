"""`ytarchive jobs` cancel, pause, resume, retry and watch, with and without a running stack."""

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from services.common.domain.jobs import Job
from services.common.settings.load import load_config
from tests.fixtures.waiting import until
from ytarchive.client.job_commands import JobCommand, JobCommandKind, send_command
from ytarchive.emulator import EmulatorClient
from ytarchive.emulator.site import sample

SLOW = 300_000  # bytes a second: the large video takes 40 s


@pytest.fixture
def up(cli: Any) -> Any:
    child = cli.start("up")
    child.wait_for("Ready.")
    return child


@pytest.fixture
def throttle(emulator: EmulatorClient) -> int:
    return emulator.add_fault("media", "throttle", rate=SLOW)


def jobs(cli: Any, *words: str) -> list[dict[str, Any]]:
    """List the jobs, newest first."""
    found: list[dict[str, Any]] = json.loads(cli("jobs", "list", "--json", *words).out)["jobs"]
    return found


def items(cli: Any, job_id: str) -> dict[str, str]:
    """Return the status of each video of a job."""
    shown = json.loads(cli("jobs", "show", job_id, "--json").out)
    return {item["video_id"]: item["status"] for item in shown["items"]}


def partials(cli: Any) -> list[Path]:
    tmp = cli.data / "tmp"
    return list(tmp.iterdir()) if tmp.exists() else []


def wait_for_download(cli: Any, emulator: EmulatorClient, video_id: str = sample.VIDEO_LARGE) -> None:
    """Wait until part of the media is downloaded."""
    emulator.wait_for(kind="media", video_id=video_id)
    folder = cli.data / "tmp" / f"{video_id}.part"
    until(lambda: any(path.stat().st_size for path in folder.glob("*.mp4.part")), f"bytes in {folder}")


def process_groups_with_files_below(folder: Path, excluded_pid: int) -> set[int]:
    """Return the process groups with a member that has a file open below `folder`."""
    found: set[int] = set()
    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or int(process.name) == excluded_pid:
            continue
        with suppress(OSError):  # the process has ended, or belongs to another user
            if any(points_below(link, folder) for link in (process / "fd").iterdir()):
                found.add(os.getpgid(int(process.name)))
    return found


def points_below(link: Path, folder: Path) -> bool:
    try:
        return link.readlink().is_relative_to(folder)
    except OSError:
        return False  # closed meanwhile


def group_exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


# --- cancel -------------------------------------------------------------------------------------------------------


def test_cancel_during_a_download_ends_its_processes_and_removes_partials(
    cli: Any, throttle: int, emulator: EmulatorClient
) -> None:
    download = cli.start("download", sample.VIDEO_LARGE, sample.VIDEO_OK, "--json")
    wait_for_download(cli, emulator)
    groups = process_groups_with_files_below(cli.data / "tmp" / f"{sample.VIDEO_LARGE}.part", download.process.pid)
    assert groups and os.getpgid(download.process.pid) not in groups
    [job] = jobs(cli)

    cancel = cli.start("jobs", "cancel", job["job_id"][:8])
    until(lambda: not any(map(group_exists, groups)), "the process group is gone")
    gone = time.time()

    assert cancel.end().code == 0
    assert "is cancelled" in cancel.end().out
    ended = download.end()
    assert ended.code == 1, ended.err
    requested = next(line for line in ended.lines if line["type"] == "job.cancel_requested")
    assert gone - datetime.fromisoformat(requested["timestamp"]).timestamp() < 2.0
    assert ended.result["job"]["status"] == "cancelled"
    assert partials(cli) == []
    assert not cli.mp4(sample.VIDEO_LARGE).exists()
    assert jobs(cli)[0]["status"] == "cancelled"


def test_download_and_watch_commands_report_a_cancel(cli: Any, throttle: int, emulator: EmulatorClient) -> None:
    download = cli.start("download", sample.VIDEO_LARGE)
    wait_for_download(cli, emulator)
    job_id = jobs(cli)[0]["job_id"]
    watch = cli.start("jobs", "watch", job_id[:10])
    watched = cli.start("jobs", "watch", job_id, "--json")
    until(lambda: "download.progress" in watched.out.read_text(), "progress is watched")

    assert cli("jobs", "cancel", job_id).code == 0

    for child in (download, watch):
        ended = child.end()
        assert ended.code == 1, ended.err
        assert "Cancelled: 0 saved, 0 already archived, 1 cancelled" in ended.out
    seen = watched.end()
    assert (seen.code, seen.result["job"]["status"]) == (1, "cancelled")
    assert partials(cli) == []


def test_cancel_of_one_video_leaves_the_other_videos(
    cli: Any, up: Any, throttle: int, emulator: EmulatorClient
) -> None:
    download = cli.start("download", sample.VIDEO_LARGE, sample.VIDEO_OK)
    wait_for_download(cli, emulator)
    job_id = jobs(cli)[0]["job_id"]

    wrong = cli("jobs", "cancel", job_id, "--video", sample.VIDEO_2160P)
    cancelled = cli("jobs", "cancel", job_id, "--video", f"https://youtu.be/{sample.VIDEO_LARGE}")

    assert wrong.code == 2 and "has no video" in wrong.err
    assert cancelled.code == 0 and f"{sample.VIDEO_LARGE} is cancelled" in cancelled.out, cancelled.err
    ended = download.end()
    assert ended.code == 3, ended.out
    assert "Done, with failures: 1 saved, 0 already archived, 1 cancelled" in ended.out
    assert items(cli, job_id) == {sample.VIDEO_LARGE: "cancelled", sample.VIDEO_OK: "archived"}
    assert partials(cli) == []
    again = cli("jobs", "cancel", job_id)
    assert again.code == 2
    assert "has ended (completed)" in again.err and "jobs retry" in again.err


def test_cancel_works_without_a_running_stack(cli: Any, throttle: int, emulator: EmulatorClient) -> None:
    job_id = interrupt_a_download(cli, emulator)
    assert partials(cli)

    cancelled = cli("jobs", "cancel", job_id)

    assert cancelled.code == 0, cancelled.err
    assert "is cancelled" in cancelled.out
    assert jobs(cli)[0]["status"] == "cancelled"
    assert partials(cli) == []


# --- pause and resume ---------------------------------------------------------------------------------------------


def test_pause_holds_waiting_videos_and_resume_continues_them(
    make_cli: Callable[..., Any], emulator: EmulatorClient
) -> None:
    cli = make_cli(YTARCHIVE_DOWNLOAD__SLOTS="1")
    cli.start("up").wait_for("Ready.")
    throttle = emulator.add_fault("media", "throttle", rate=1_000_000)
    download = cli.start("download", sample.VIDEO_LARGE, sample.VIDEO_OK, sample.VIDEO_480P)
    wait_for_download(cli, emulator)
    job_id = jobs(cli)[0]["job_id"]

    paused = cli("jobs", "pause", job_id)
    emulator.remove_fault(throttle)

    assert paused.code == 0 and "is paused" in paused.out, paused.err
    until(lambda: "running" not in items(cli, job_id).values(), "the running download has ended")
    held = items(cli, job_id)
    assert held == {sample.VIDEO_LARGE: "archived", sample.VIDEO_OK: "waiting", sample.VIDEO_480P: "waiting"}
    assert download.process.is_running
    assert "(paused)" in cli("jobs", "list").out
    download.wait_for(f"paused: `ytarchive jobs resume {job_id[:8]}` continues it")

    resumed = cli("jobs", "resume", job_id)

    assert resumed.code == 0 and "continues" in resumed.out, resumed.err
    assert download.end().code == 0
    assert set(items(cli, job_id).values()) == {"archived"}


def test_resume_without_a_running_stack_completes_the_job(cli: Any, throttle: int, emulator: EmulatorClient) -> None:
    job_id = interrupt_a_download(cli, emulator, "-o", "elsewhere")
    emulator.remove_fault(throttle)

    refused = cli("jobs", "retry", job_id)
    unwatched = cli("jobs", "watch", job_id)
    resumed = cli("jobs", "resume", job_id[:8], "--json")

    assert refused.code == 2 and "jobs resume" in refused.err
    assert unwatched.code == 1 and "does not continue" in unwatched.err
    assert resumed.code == 0, resumed.err
    assert resumed.result["job"]["job_id"] == job_id
    assert (cli.home / "elsewhere" / "videos" / sample.VIDEO_LARGE / f"{sample.VIDEO_LARGE}.mp4").exists()
    assert jobs(cli)[0]["status"] == "completed"


def test_pause_without_a_running_stack_is_stored_and_can_be_resumed(
    cli: Any, throttle: int, emulator: EmulatorClient
) -> None:
    job_id = interrupt_a_download(cli, emulator)
    emulator.remove_fault(throttle)
    since = emulator.last()

    assert cli("jobs", "pause", job_id).code == 0

    assert jobs(cli)[0]["paused"] is True
    assert not emulator.log(since=since, kind="media")
    assert cli("jobs", "resume", job_id).code == 0
    assert cli.mp4(sample.VIDEO_LARGE).exists()


def test_the_same_download_command_resumes_a_paused_job(cli: Any, throttle: int, emulator: EmulatorClient) -> None:
    """Otherwise the command would wait forever for a job that nobody resumes."""
    job_id = interrupt_a_download(cli, emulator)
    emulator.remove_fault(throttle)
    assert cli("jobs", "pause", job_id).code == 0

    again = cli("download", sample.VIDEO_LARGE)

    assert again.code == 0, again.err
    assert f"Continuing job {job_id}, which was paused." in again.out
    assert cli.mp4(sample.VIDEO_LARGE).exists()


# --- retry --------------------------------------------------------------------------------------------------------


def test_retry_without_a_running_stack_retries_only_the_failures(cli: Any, emulator: EmulatorClient) -> None:
    broken = emulator.add_fault("media", "status", video_id=sample.VIDEO_480P, status=404)
    first = cli("download", sample.VIDEO_OK, sample.VIDEO_480P, sample.VIDEO_DELETED)
    assert first.code == 3, first.out + first.err
    [job] = jobs(cli)
    assert items(cli, job["job_id"])[sample.VIDEO_480P] == "failed"
    emulator.remove_fault(broken)
    since = emulator.last()

    retried = cli("jobs", "retry", job["job_id"][:8])

    assert retried.code == 3, retried.out + retried.err
    assert "Done, with failures: 2 saved, 0 already archived, 1 unavailable" in retried.out
    assert cli.mp4(sample.VIDEO_480P).exists()
    asked = {entry["video_id"] for entry in emulator.log(since=since) if entry.get("video_id")}
    assert asked == {sample.VIDEO_480P, sample.VIDEO_DELETED}
    assert len(jobs(cli)) == 1


def test_retry_on_a_running_stack_is_accepted_and_can_be_watched(cli: Any, up: Any, emulator: EmulatorClient) -> None:
    broken = emulator.add_fault("media", "status", video_id=sample.VIDEO_480P, status=404)
    assert cli("download", sample.VIDEO_480P).code == 3
    job_id = jobs(cli)[0]["job_id"]
    emulator.remove_fault(broken)

    retried = cli("jobs", "retry", job_id, "--json")
    watched = cli("jobs", "watch", job_id)

    assert retried.code == 0, retried.err
    assert json.loads(retried.out)["job"]["job_id"] == job_id
    assert watched.code == 0, watched.out
    assert "Done: 1 saved" in watched.out
    nothing = cli("jobs", "retry", job_id)
    assert nothing.code == 0 and "has no failed or unavailable videos" in nothing.out


def test_retry_reopens_a_cancelled_job(cli: Any, throttle: int, emulator: EmulatorClient) -> None:
    job_id = interrupt_a_download(cli, emulator)
    assert cli("jobs", "cancel", job_id).code == 0
    emulator.remove_fault(throttle)

    retried = cli("jobs", "retry", job_id)

    assert retried.code == 0, retried.out + retried.err
    assert "Done: 1 saved" in retried.out


# --- invalid requests ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["cancel", "pause", "resume", "retry", "watch"])
def test_a_command_for_an_unknown_job_fails_and_starts_nothing(cli: Any, command: str) -> None:
    run = cli("jobs", command, "0nosuch")

    assert run.code == 2
    assert "There is no job 0nosuch" in run.err and "jobs list" in run.err
    assert not cli.data.exists(), "no stack was started"


def test_an_ended_job_cannot_be_cancelled_paused_or_resumed(cli: Any) -> None:
    assert cli("download", sample.VIDEO_OK, "--metadata-only").code == 0
    job_id = jobs(cli)[0]["job_id"]

    for command in ("cancel", "pause", "resume"):
        run = cli("jobs", command, job_id)
        assert run.code == 2
        assert f"has ended (completed): there is nothing to {command}" in run.err
    watched = cli("jobs", "watch", job_id)
    assert watched.code == 0
    assert "Done: 1 described" in watched.out


# --- take-over and re-attachment ----------------------------------------------------------------------------------


def test_ctrl_c_stops_watching_but_not_the_job(cli: Any, up: Any, throttle: int, emulator: EmulatorClient) -> None:
    download = cli.start("download", sample.VIDEO_LARGE)
    wait_for_download(cli, emulator)
    watch = cli.start("jobs", "watch", jobs(cli)[0]["job_id"], "--json")
    until(lambda: "download.progress" in watch.out.read_text(), "progress is watched")

    watch.signal(signal.SIGINT)

    assert watch.end().code == 130
    assert jobs(cli)[0]["status"] == "running"
    assert download.process.is_running and up.process.is_running


def test_the_same_command_reattaches_to_the_open_job(
    cli: Any, up: Any, throttle: int, emulator: EmulatorClient
) -> None:
    first = cli.start("download", sample.VIDEO_LARGE)
    wait_for_download(cli, emulator)
    job_id = jobs(cli)[0]["job_id"]

    second = cli.start("download", f"https://youtu.be/{sample.VIDEO_LARGE}")
    second.wait_for(f"Continuing job {job_id}")
    other = cli.start("download", sample.VIDEO_LARGE, "--quality", "360p", "--json")
    other.wait_for("job.queued")  # another quality is another job
    assert cli("jobs", "cancel", job_id).code == 0

    assert (first.end().code, second.end().code) == (1, 1), "both commands followed the job"
    assert {job["job_id"]: job["status"] for job in jobs(cli)}[job_id] == "cancelled"
    assert len(jobs(cli, "--status", "open")) == 1
    assert other.process.is_running


def test_a_command_takes_over_when_the_stack_of_another_command_is_killed(
    cli: Any, throttle: int, emulator: EmulatorClient
) -> None:
    second_video = "large-00002"
    emulator.put_video(second_video, title="Another large file", channel=sample.CHANNEL, size=sample.LARGE_SIZE)
    first = cli.start("download", sample.VIDEO_LARGE)
    wait_for_download(cli, emulator)
    first_job = jobs(cli)[0]["job_id"]
    second = cli.start("download", second_video)
    wait_for_download(cli, emulator, second_video)
    second_job = jobs(cli)[0]["job_id"]
    assert json.loads((cli.data / "run" / "stack.json").read_text())["pid"] == first.process.pid
    watch = cli.start("jobs", "watch", first_job, "--json")
    until(lambda: "download.progress" in watch.out.read_text(), "progress is watched")

    os.kill(first.process.pid, signal.SIGKILL)
    first.end()
    emulator.remove_fault(throttle)
    run, watched = second.end(), watch.end()

    assert watched.code == 1, watched.err
    assert "does not continue" in watched.out + watched.err
    assert run.code == 0, run.out + run.err
    assert "taking over" in run.out
    assert cli.mp4(second_video).exists()
    assert {job["job_id"]: job["status"] for job in jobs(cli)} == {first_job: "running", second_job: "completed"}
    assert not cli.mp4(sample.VIDEO_LARGE).exists()
    resumed = cli("jobs", "resume", first_job)
    assert resumed.code == 0, resumed.out + resumed.err
    assert cli.mp4(sample.VIDEO_LARGE).exists()


def suspend_then_kill_on_request(stack: Any, cli: Any) -> Callable[[], Any]:
    """Suspend the stack, so that it accepts requests without answering. The returned function kills it if a request is
    pending; otherwise it returns None."""
    info = json.loads((cli.data / "run" / "stack.json").read_text())
    assert info["pid"] == stack.process.pid
    port = int(info["services"]["jobs"].rpartition(":")[2])
    os.kill(stack.process.pid, signal.SIGSTOP)

    def request_is_pending() -> bool:
        sockets = "".join(Path("/proc/net", name).read_text() for name in ("tcp", "tcp6"))
        lines = [line.split() for line in sockets.splitlines() if "rx_queue" not in line]
        return any(int(at.partition(":")[2], 16) == port and not queues.endswith(":00000000")
                   for _number, at, _from, _state, queues, *_more in lines)  # fmt: skip

    def kill() -> Any:
        if not request_is_pending():
            return None
        os.kill(stack.process.pid, signal.SIGKILL)
        return stack.end()

    return kill


def test_a_command_takes_over_when_the_stack_is_killed_during_its_request(
    cli: Any, throttle: int, emulator: EmulatorClient
) -> None:
    """A request that breaks off with the killed stack is not an error of the command that sent it."""
    first = cli.start("download", sample.VIDEO_LARGE)
    wait_for_download(cli, emulator)
    killed = suspend_then_kill_on_request(first, cli)

    second = cli.start("download", sample.VIDEO_OK)
    until(killed, "the second command requests the list of jobs")

    run = second.end()
    assert run.code == 0, run.out + run.err
    assert "taking over" in run.out
    assert cli.mp4(sample.VIDEO_OK).exists()


async def test_a_pause_is_applied_although_the_stack_is_killed_before_it_answers(
    cli: Any, throttle: int, emulator: EmulatorClient
) -> None:
    first = cli.start("download", sample.VIDEO_LARGE)
    wait_for_download(cli, emulator)
    job = Job.model_validate(jobs(cli)[0])
    killed = suspend_then_kill_on_request(first, cli)

    config = load_config(env=cli.env, cwd=cli.home)
    async with AsyncExitStack() as resources:
        sending = asyncio.create_task(send_command(config, JobCommand(JobCommandKind.PAUSE, job), resources, print))
        async with asyncio.timeout(30):
            while not killed():  # noqa: ASYNC110 - there is no event for the sockets of another process
                await asyncio.sleep(0.01)
            outcome = await sending

    assert outcome.job.paused
    assert jobs(cli)[0]["paused"] is True


def test_retry_takes_over_when_the_download_command_with_the_stack_ends(
    cli: Any, throttle: int, emulator: EmulatorClient
) -> None:
    """The stack of a single download command does not run other jobs: the retried job would stay parked."""
    emulator.remove_fault(throttle)
    broken = emulator.add_fault("media", "status", video_id=sample.VIDEO_480P, status=404)
    assert cli("download", sample.VIDEO_480P).code == 3
    job_id = jobs(cli)[0]["job_id"]
    emulator.remove_fault(broken)
    emulator.add_fault("media", "throttle", rate=20_000, video_id=sample.VIDEO_480P, times=1)
    slow = emulator.add_fault("media", "throttle", rate=SLOW, video_id=sample.VIDEO_LARGE)
    host = cli.start("download", sample.VIDEO_LARGE)
    wait_for_download(cli, emulator)

    retried = cli.start("jobs", "retry", job_id)
    retried.wait_for("Continuing job")
    host.signal(signal.SIGINT)

    assert host.end().code == 130
    emulator.remove_fault(slow)
    run = retried.end()
    assert run.code == 0, run.out + run.err
    assert cli.mp4(sample.VIDEO_480P).exists()


def test_no_download_is_dispatched_to_a_stopping_worker(cli: Any, throttle: int, emulator: EmulatorClient) -> None:
    """Otherwise the next stack would wait for a message that is in flight at the stopped worker."""
    interrupt_a_download(cli, emulator)

    [log] = (cli.data / "logs").glob("events-*.jsonl")
    seen = [json.loads(line) for line in log.read_text().splitlines()]
    subjects = [line["subject"] for line in seen if line.get("event") == "event_seen"]
    assert subjects.count("download.deferred") == 1
    assert subjects.count("download.requested") == 1


def interrupt_a_download(cli: Any, emulator: EmulatorClient, *words: str) -> str:
    """Interrupt a download with SIGTERM; return the id of its open job."""
    download = cli.start("download", sample.VIDEO_LARGE, *words)
    wait_for_download(cli, emulator)
    download.signal(signal.SIGTERM)
    assert download.end().code == 130
    job_id: str = jobs(cli)[0]["job_id"]
    return job_id
