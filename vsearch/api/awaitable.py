"""The part of the interface of every index that is awaited."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pyarrow as pa

    from vsearch.api.hits import DocumentHits, Hits
    from vsearch.live.commits import Commit


class AwaitableIndex(Protocol):
    """Methods to await, of `SearchableIndex`; each takes the arguments of the method without the ``a``."""

    async def asearch(self, *arguments: Any, **options: Any) -> Hits:
        """Await `search`; see `vsearch.Index.asearch`."""

    def asearch_pages(self, *arguments: Any, **options: Any) -> AsyncIterator[Hits]:
        """Iterate over the pages of `search_pages`; see `vsearch.Index.asearch_pages`."""

    async def asearch_documents(self, *arguments: Any, **options: Any) -> DocumentHits:
        """Await `search_documents`; see `vsearch.Index.asearch_documents`."""

    async def asearch_sparse(self, *arguments: Any, **options: Any) -> Hits:
        """Await `search_sparse`; see `vsearch.Index.asearch_sparse`."""

    async def asearch_text(self, *arguments: Any, **options: Any) -> Hits:
        """Await `search_text`; see `vsearch.Index.asearch_text`."""

    async def asearch_leg(self, *arguments: Any, **options: Any) -> Hits:
        """Await `search_leg`; see `vsearch.Index.asearch_leg`."""

    async def aget(self, *arguments: Any, **options: Any) -> pa.Table:
        """Await `get`; see `vsearch.Index.aget`."""

    async def acount(self, *arguments: Any, **options: Any) -> int:
        """Await `count`; see `vsearch.Index.acount`."""

    async def arows(self, *arguments: Any, **options: Any) -> pa.Table:
        """Await `rows`; see `vsearch.Index.arows`."""

    async def aappend(self, *arguments: Any, **options: Any) -> Commit:
        """Await `append`; see `vsearch.Index.aappend`."""

    async def aupsert(self, *arguments: Any, **options: Any) -> Commit:
        """Await `upsert`; see `vsearch.Index.aupsert`."""

    async def aupdate(self, *arguments: Any, **options: Any) -> Commit:
        """Await `update`; see `vsearch.Index.aupdate`."""

    async def adelete(self, *arguments: Any, **options: Any) -> Commit:
        """Await `delete`; see `vsearch.Index.adelete`."""
