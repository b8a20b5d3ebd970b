"""When progress is published, and its content (SPEC: Progress Reporting). Pure."""

from services.common.models import Progress
from services.common.youtube.messages import Downloading

EVERY_SECONDS = 5.0
EVERY_SHARE = 0.05


class ProgressRule:
    """Every 5 s or 5 %, whichever comes first. The first progress is always published, and so is the last."""

    def __init__(self) -> None:
        self._at: float | None = None
        self._share = 0.0

    def due(self, now: float, share: float, *, last: bool = False) -> bool:
        """Return whether to publish now; `now` in seconds of a monotonic clock, `share` from 0 to 1 (0 while unknown),
        `last`: the download is complete."""
        first = self._at is None
        late = self._at is not None and now - self._at >= EVERY_SECONDS
        if not (first or late or last or share - self._share >= EVERY_SHARE):
            return False
        self._at, self._share = now, share
        return True


def share_of(state: Downloading) -> float:
    return min(1.0, state.downloaded / state.total) if state.total else 0.0


def progress_of(state: Downloading, *, finished: bool = False) -> Progress:
    """Return SPEC's Progress; `current` and `total` are bytes, an unknown total is 0."""
    total = state.downloaded if finished else state.total or 0
    return Progress(
        current=state.downloaded,
        total=total,
        percentage=100.0 if finished else round(100 * share_of(state), 1),
        message="downloaded" if finished else "downloading",
        speed_bps=state.speed,
        eta_seconds=0 if finished else state.eta,
    )


def known_size(state: Downloading | None) -> int | None:
    """Return the announced bytes, else those that have arrived; None before the first one."""
    return (state.total or state.downloaded or None) if state else None
