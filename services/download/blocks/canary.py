"""The canary: a video that was saved before. One extraction of it shows whether YouTube refuses this machine, or only
the videos that have failed."""

import os
from enum import Enum, auto

from services.common.domain.failures import Failure, FailureKind, Suspicion
from services.common.domain.videos import Wanted
from services.common.settings.sections import Download
from services.common.youtube.messages import FetchMessage, FetchRequest
from services.common.youtube.process import YtDlpChild
from services.common.youtube.quality import BEST
from services.download.attempt import Attempt, Outcome
from services.download.formats import choose


class CanaryAnswer(Enum):
    SERVED = auto()  # the failures are about the videos
    REFUSED = auto()  # they are about this machine
    UNCLEAR = auto()  # our own fault, or the canary itself may be gone by now


async def ask_canary(child: YtDlpChild, video_id: str, dispatch_id: str, idle: float) -> Outcome:
    """Extract the canary and select formats; download nothing. `idle` as in Attempt."""
    request = FetchRequest(
        video_id=video_id,
        dispatch_id=dispatch_id,
        wanted=Wanted(media=False, thumbnail=False, metadata=False),
        choice=choose(BEST, Download()),
        directory=os.devnull,
    )
    return await Attempt(child, request, idle).run(_ignore)


def judge_canary(outcome: Outcome, suspicion: Suspicion | None) -> CanaryAnswer:
    if not isinstance(outcome, Failure) or outcome.kind is FailureKind.NOT_YET:
        return CanaryAnswer.SERVED
    gone = outcome.kind is FailureKind.GONE and suspicion is not Suspicion.ALL_GONE
    return CanaryAnswer.UNCLEAR if gone or outcome.kind is FailureKind.LOCAL else CanaryAnswer.REFUSED


async def _ignore(_message: FetchMessage) -> None:
    """Receive the messages of the extraction."""
