"""Select the sources for a target, in order of preference.

                     with an API key                         without a key
given videos         Data API, then as given                 as given
playlist, channel    Data API, then yt-dlp                   yt-dlp

With `[youtube] keyless_fallback` false there is no second source when the quota is used up: the listing waits for the
next day. Given videos wait only in a metadata-only job, because a download extracts its own metadata.
"""

import socket
from dataclasses import dataclass, field

from services.common.domain.replies import ClaimAnswer, ClaimVerdict
from services.common.domain.videos import TargetKind, Wanted
from services.common.events import JobQueued
from services.common.models import JobType
from services.metadata.data_api.client import DataApi
from services.metadata.data_api.keys import ApiKeys
from services.metadata.data_api.source import DataApiSource
from services.metadata.lister import Claim, ClaimedSource
from services.metadata.sources import GivenSource, Source


def data_api_egress(name: str | None = None) -> str:
    """Return the egress name of the Data API, which a bot check of the site does not block. `name` as in egress_of."""
    return f"{name or socket.gethostname()}/data_api"


async def _always(_queued: JobQueued) -> ClaimAnswer:
    """Answer claims for a source that makes no requests."""
    return ClaimAnswer(verdict=ClaimVerdict.GO)


_GIVEN = ClaimedSource(GivenSource(), _always, "")


@dataclass
class SourceSelection:
    keys: ApiKeys
    api: DataApi
    api_claim: Claim
    keyless: ClaimedSource
    api_egress: str = field(default_factory=data_api_egress)
    keyless_fallback: bool = True

    def of(self, queued: JobQueued) -> list[ClaimedSource]:
        last = _GIVEN if queued.target.kind is TargetKind.VIDEOS else self.keyless
        key = self.keys.of(queued.job_id)
        # a job without metadata makes no calls of the Data API
        if key is None or not Wanted.of(queued.type, queued.options).metadata:
            return [last]
        given = queued.target.kind is TargetKind.VIDEOS and queued.type is not JobType.METADATA_ONLY
        source: Source = DataApiSource(self.api, key, waits=not (self.keyless_fallback or given))
        return [ClaimedSource(source, self.api_claim, self.api_egress), last]
