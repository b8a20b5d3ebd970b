"""News: reads the journal of events, and tells people what they should know. It may be away for as long as journals are
kept, and continues where it stopped."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog

from services.common.settings.sections import Notify
from services.logging.news.delivery import Delivery
from services.logging.news.notes import SUBJECTS, Change, changes
from services.logging.news.store import NewsStore, Waiting
from services.logging.news.times import QuietHours, next_time, parse_time
from services.logging.reading import EVENTS, journal_files, parse_record

_GATHER = 1.0  # seconds that events are waited for after the first
_LONGEST_SLEEP = 3600.0  # seconds
_BLOCK = 4 * 1024**2  # bytes of the journal in one transaction
_FIRST_PAUSE, _LONGEST_PAUSE = timedelta(minutes=1), timedelta(hours=6)  # after failed deliveries
_IN_ONE_MESSAGE = 20
_LAST_MESSAGE = 3.0  # seconds that the end of the service waits for a message

_log = structlog.get_logger("services.logging")


class News:
    """`now` is the local time, whose clock the quiet hours and the digest follow."""

    def __init__(
        self,
        directory: Path,
        store: NewsStore,
        settings: Notify,
        delivery: Delivery,
        now: Callable[[], datetime] = lambda: datetime.now(UTC).astimezone(),
    ) -> None:
        self._directory = directory
        self._store = store
        self._quiet = QuietHours.parse(settings.quiet_hours)
        self._digest = parse_time(settings.digest_at)
        self._delivery = delivery
        self._now = now
        self.written = asyncio.Event()  # set when the journal has grown

    async def run(self) -> None:
        """Never returns."""
        while True:
            self.written.clear()
            await self.read()
            next_at = await self.tell()
            wait = _LONGEST_SLEEP if next_at is None else (next_at - self._now()).total_seconds()
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, min(wait, _LONGEST_SLEEP))):
                    await self.written.wait()
                    await asyncio.sleep(_GATHER)

    # --- the journal

    async def read(self) -> None:
        """Read what the journal has since the last time. The first time nothing: what was before is no news."""
        known = await self._store.read_so_far()
        if known is None:
            await self._store.apply([], await asyncio.to_thread(self._sizes), self._now())
            return
        while True:
            found, read = await asyncio.to_thread(self._read, known)
            if read == known:
                return
            await self._store.apply(found, read, self._now())
            known = read

    def _sizes(self) -> dict[str, int]:
        return {file.path.name: file.size for file in journal_files(self._directory, EVENTS)}

    def _read(self, known: Mapping[str, int]) -> tuple[list[Change], dict[str, int]]:
        """Return what the next lines of the journal change, and how far each file is read. An event is in the file of
        its own day, so that yesterday's may grow beside today's."""
        found: list[Change] = []
        read = {"": 0}
        for file in journal_files(self._directory, EVENTS):
            name = file.path.name
            offset = known.get(name, 0)
            lines = _lines(file.path, offset) if file.size > offset else b""
            found += _changes_of(lines.splitlines())
            read[name] = offset + len(lines)
        return found, read

    # --- telling

    async def tell(self) -> datetime | None:
        """Send what is due. Return when something is due next."""
        waiting = await self._store.waiting()
        now = self._now()
        due, later = list[Waiting](), list[datetime]()
        for note in waiting:
            at = self._may_be_told(note)
            if at <= now:
                due.append(note)
            else:
                later.append(at)
        for urgent in (True, False):
            if notes := [note for note in due if note.urgent is urgent]:
                later += await self._send(notes, now)
        return min(later, default=None)

    def _may_be_told(self, note: Waiting) -> datetime:
        at = note.due.astimezone(self._now().tzinfo)
        if not note.urgent and note.tries == 0:
            at = next_time(at, self._digest)
        return self._quiet.over_at(max(at, self._now())) if self._quiet is not None else at

    async def _send(self, notes: Sequence[Waiting], now: datetime) -> list[datetime]:
        """Send notes as one message. Return when to try again, if no address took it. At the end of the service the
        message that is on its way is waited for: it would be sent again."""
        sending = asyncio.create_task(self._deliver(notes, now), name="news")
        try:
            return await asyncio.shield(sending)
        except asyncio.CancelledError:
            await asyncio.wait({sending}, timeout=_LAST_MESSAGE)
            raise

    async def _deliver(self, notes: Sequence[Waiting], now: datetime) -> list[datetime]:
        title, text = message_of(notes)
        sent = await asyncio.to_thread(self._delivery.send, title, text)
        keys = [note.key for note in notes]
        failed = [one.name for one in sent if not one.ok]
        if failed:
            _log.warning("news_not_delivered", addresses=failed, notes=len(notes))
        if any(one.ok for one in sent):
            await self._store.told(keys, now)
            return []
        pause = min(_FIRST_PAUSE * 2 ** min(notes[0].tries, 12), _LONGEST_PAUSE)
        await self._store.postpone(keys, now + pause)
        return [now + pause]


def message_of(notes: Sequence[Waiting]) -> tuple[str, str]:
    """Return title and text of one message."""
    if len(notes) == 1:
        return f"YTArchive: {notes[0].title}", notes[0].text
    lines = [f"{note.title}: {note.text}" for note in notes[:_IN_ONE_MESSAGE]]
    if len(notes) > _IN_ONE_MESSAGE:
        lines.append(f"… and {len(notes) - _IN_ONE_MESSAGE} more")
    what = "needs you" if notes[0].urgent else "news"
    return f"YTArchive: {what} ({len(notes)})", "\n".join(lines)


def _lines(path: Path, offset: int) -> bytes:
    """Return whole lines from there on, about _BLOCK bytes, or one line that is longer."""
    size = _BLOCK
    while True:
        try:
            with path.open("rb") as file:
                file.seek(offset)
                text = file.read(size)
        except FileNotFoundError:
            return b""  # removed by retention
        whole = text[: text.rfind(b"\n") + 1]
        if whole or len(text) < size:
            return whole
        size *= 2


def _changes_of(lines: Sequence[bytes]) -> list[Change]:
    found: list[Change] = []
    for line in lines:
        if (record := parse_record(line)) is None or record.get("subject") not in SUBJECTS:
            continue
        data = record.get("data")
        found += changes(str(record["subject"]), data) if isinstance(data, dict) else []
    return found
