"""Asynchronous twins of an index's methods: each runs in a thread, so the event loop stays free."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pyarrow as pa

    from vsearch.api.hits import DocumentHits, Hits
    from vsearch.live.commits import Commit


class AsyncIndex:
    """Methods to await. Each takes the arguments of the method without the ``a``, and raises its errors.

    A task that is cancelled stops waiting, while the thread finishes: a change may still be committed.
    """

    async def asearch(self, *arguments: Any, **options: Any) -> Hits:
        """Await `search`."""
        return await self._in_thread("search", arguments, options)

    async def asearch_pages(self, *arguments: Any, **options: Any) -> AsyncIterator[Hits]:
        """Iterate over the pages of `search_pages` with ``async for``; each is searched in a thread."""
        pages = await self._in_thread("search_pages", arguments, options)
        while (page := await asyncio.to_thread(next, pages, None)) is not None:
            yield page

    async def asearch_documents(self, *arguments: Any, **options: Any) -> DocumentHits:
        """Await `search_documents`."""
        return await self._in_thread("search_documents", arguments, options)

    async def asearch_text(self, *arguments: Any, **options: Any) -> Hits:
        """Await `search_text`."""
        return await self._in_thread("search_text", arguments, options)

    async def asearch_sparse(self, *arguments: Any, **options: Any) -> Hits:
        """Await `search_sparse`."""
        return await self._in_thread("search_sparse", arguments, options)

    async def asearch_leg(self, *arguments: Any, **options: Any) -> Hits:
        """Await `search_leg`."""
        return await self._in_thread("search_leg", arguments, options)

    async def aget(self, *arguments: Any, **options: Any) -> pa.Table:
        """Await `get`."""
        return await self._in_thread("get", arguments, options)

    async def acount(self, *arguments: Any, **options: Any) -> int:
        """Await `count`."""
        return await self._in_thread("count", arguments, options)

    async def arows(self, *arguments: Any, **options: Any) -> pa.Table:
        """Await `rows`."""
        return await self._in_thread("rows", arguments, options)

    async def aappend(self, *arguments: Any, **options: Any) -> Commit:
        """Await `append`."""
        return await self._in_thread("append", arguments, options)

    async def aupsert(self, *arguments: Any, **options: Any) -> Commit:
        """Await `upsert`."""
        return await self._in_thread("upsert", arguments, options)

    async def aupdate(self, *arguments: Any, **options: Any) -> Commit:
        """Await `update`."""
        return await self._in_thread("update", arguments, options)

    async def adelete(self, *arguments: Any, **options: Any) -> Commit:
        """Await `delete`."""
        return await self._in_thread("delete", arguments, options)

    async def _in_thread(self, name: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        return await asyncio.to_thread(getattr(self, name), *arguments, **options)
