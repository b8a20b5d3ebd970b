"""REST routes for finding one's way in a large archive: counts, months, channels, playlists, a word over the years."""

from pydantic import BaseModel

from services.common.web.routing import Call, Route
from services.storage.index.facets import (
    ArchiveFacets,
    BucketQuery,
    Buckets,
    ChannelPage,
    ChannelQuery,
    Facets,
)
from services.storage.index.queries import VideoFilter
from services.storage.index.search import ArchiveSearch, SearchYears, YearsQuery
from services.storage.playlists.queries import (
    EntryQuery,
    PlaylistAvailability,
    PlaylistEntries,
    PlaylistId,
    PlaylistList,
    PlaylistQueries,
    PlaylistQuery,
)
from services.storage.watching import WatchStates


class PlaylistPath(BaseModel):
    playlist_id: PlaylistId


async def facets(_call: Call, query: VideoFilter, library: ArchiveFacets, states: WatchStates) -> Facets:
    return await library.facets(query, await states.watched(query))


async def buckets(_call: Call, query: BucketQuery, library: ArchiveFacets, states: WatchStates) -> Buckets:
    return await library.buckets(query, await states.watched(query))


async def channels(_call: Call, query: ChannelQuery, library: ArchiveFacets) -> ChannelPage:
    return await library.channels(query)


async def playlists(_call: Call, query: PlaylistQuery, lists: PlaylistQueries) -> PlaylistList:
    return await lists.page(query)


async def playlist(_call: Call, path: PlaylistPath, query: EntryQuery, lists: PlaylistQueries) -> PlaylistEntries:
    return await lists.entries(path.playlist_id, query)


async def availability(_call: Call, path: PlaylistPath, lists: PlaylistQueries) -> PlaylistAvailability:
    return await lists.availability(path.playlist_id)


async def years(_call: Call, query: YearsQuery, searches: ArchiveSearch) -> SearchYears:
    return await searches.years(query)


_BASE = "/api/v1/storage"
ROUTES = (
    Route("GET", f"{_BASE}/facets", facets, "Counts of the archive's videos", query=VideoFilter, response=Facets),
    Route("GET", f"{_BASE}/buckets", buckets, "Videos by month", query=BucketQuery, response=Buckets),
    Route("GET", f"{_BASE}/channels", channels, "Channels of the archive", query=ChannelQuery, response=ChannelPage),
    Route(
        "GET", f"{_BASE}/playlists", playlists, "Playlists that the archive knows",
        query=PlaylistQuery, response=PlaylistList,
    ),
    Route(
        "GET", f"{_BASE}/playlists/{{playlist_id}}", playlist, "A playlist, and what is held of it",
        path_model=PlaylistPath, query=EntryQuery, response=PlaylistEntries,
    ),
    Route(
        "GET", f"{_BASE}/playlists/{{playlist_id}}/availability", availability,
        "How many videos of a playlist were listed, private or deleted, or no longer listed, over time",
        path_model=PlaylistPath, response=PlaylistAvailability,
    ),
    Route(
        "GET", f"{_BASE}/search/years", years, "In how many videos of each year something is found",
        query=YearsQuery, response=SearchYears,
    ),
)  # fmt: skip
