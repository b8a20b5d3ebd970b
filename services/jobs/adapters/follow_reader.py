"""Reads follows and what they have found, as REST shows them."""

import sqlite3

from services.common.domain.follows import Follow
from services.common.errors import NotFound
from services.common.infra.sqlite_files import parse_row
from services.jobs.adapters.store import Store
from services.jobs.adapters.unit_of_work import FOLLOW, FOLLOW_VIDEO, SqlRows
from services.jobs.domain.views import follow_video_view, follow_view
from services.jobs.rest_models import FollowList, FollowQuery, FollowVideoList, FollowVideoQuery

_TITLE = "coalesce(json_extract(body, '$.title'), json_extract(body, '$.target')) COLLATE NOCASE, follow_id"
_NEXT = "next_look IS NULL, next_look, follow_id"


class FollowReader:
    """`store` may be read-only."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def find(self, follow_id: str) -> Follow | None:
        return await self._store.read(lambda rows, _sql: follow_view(row) if (row := rows.follow(follow_id)) else None)

    async def get(self, follow_id: str) -> Follow:
        """Raises NotFound."""
        follow = await self.find(follow_id)
        if follow is None:
            raise NotFound(f"There is no follow {follow_id}: GET /api/v1/follows lists them.", follow_id=follow_id)
        return follow

    async def follows(self, query: FollowQuery) -> FollowList:
        order = _NEXT if query.sort == "next" else _TITLE

        def work(_rows: SqlRows, sql: sqlite3.Connection) -> FollowList:
            (total,) = sql.execute("SELECT count(*) FROM follows").fetchone()
            select = f"SELECT body FROM follows ORDER BY {order} LIMIT ? OFFSET ?"  # noqa: S608 - constants
            found = sql.execute(select, (query.limit, query.offset))
            follows = [follow_view(parse_row(FOLLOW.validate_json, row["body"])) for row in found]
            return FollowList(follows=follows, total=total, limit=query.limit, offset=query.offset)

        return await self._store.read(work)

    async def videos(self, follow_id: str, query: FollowVideoQuery) -> FollowVideoList:
        """Return a page of what a follow has found, the newest first."""
        where, values = "follow_id = ?", list[object]([follow_id])
        if query.state is not None:
            where, values = where + " AND state = ?", [*values, query.state]

        def work(_rows: SqlRows, sql: sqlite3.Connection) -> FollowVideoList:
            (total,) = sql.execute(f"SELECT count(*) FROM follow_videos WHERE {where}", values).fetchone()  # noqa: S608 - only marks
            select = f"SELECT body FROM follow_videos WHERE {where} ORDER BY rank DESC LIMIT ? OFFSET ?"  # noqa: S608 - only marks
            found = sql.execute(select, [*values, query.limit, query.offset])
            videos = [follow_video_view(parse_row(FOLLOW_VIDEO.validate_json, row["body"])) for row in found]
            return FollowVideoList(videos=videos, total=total, limit=query.limit, offset=query.offset)

        return await self._store.read(work)
