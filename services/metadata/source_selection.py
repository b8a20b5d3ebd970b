"""Which sources list a target, the best first.

                     with an API key                         without a key
given videos         Data API, then as they were given       as they were given
playlist, channel    Data API, then yt-dlp                   yt-dlp

With `[youtube] keyless_fallback` false nothing follows a quota that is used up: the listing waits for the next day.
Given videos wait only where their metadata are all that is wanted: a download brings its own.
"""

import socket
from dataclasses import dataclass, field

from services.common.events import JobQueued
from services.common.models import ClaimAnswer, ClaimVerdict, JobType, TargetKind, Wanted
from services.metadata.data_api.client import DataApi
from services.metadata.data_api.keys import Keys
from services.metadata.data_api.source import DataApiSource
from services.metadata.lister import Claim, Way
from services.metadata.sources import GivenSource, Source


def data_api_egress(name: str | None = None) -> str:
    """The name of the way to the Data API: a bot check of the site does not block it. `name` as in egress_of."""
    return f"{name or socket.gethostname()}/data_api"


async def _freely(_queued: JobQueued) -> ClaimAnswer:
    """For what asks nothing of anybody."""
    return ClaimAnswer(verdict=ClaimVerdict.GO)


_GIVEN = Way(GivenSource(), _freely, "")


@dataclass
class Ways:
    keys: Keys
    api: DataApi
    api_claim: Claim
    keyless: Way
    api_egress: str = field(default_factory=data_api_egress)
    keyless_fallback: bool = True

    def of(self, queued: JobQueued) -> list[Way]:
        last = _GIVEN if queued.target.kind is TargetKind.VIDEOS else self.keyless
        key = self.keys.of(queued.job_id)
        # without metadata there are no calls at all (DESIGN, deviations)
        if key is None or not Wanted.of(queued.type, queued.options).metadata:
            return [last]
        given = queued.target.kind is TargetKind.VIDEOS and queued.type is not JobType.METADATA_ONLY
        source: Source = DataApiSource(self.api, key, waits=not (self.keyless_fallback or given))
        return [Way(source, self.api_claim, self.api_egress), last]
