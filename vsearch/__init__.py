"""A compressed vector search engine.

>>> import vsearch
>>> sample = vsearch.datasets.load("wordnet-10k")
>>> index = vsearch.build(sample.vectors, "my-index", attributes=sample.attributes)  # doctest: +SKIP
>>> hits = index.search(sample.queries[0], k=3, where="pos = 'noun' AND gloss_len < 80")  # doctest: +SKIP

A public name is imported when it is first used, so that ``import vsearch`` costs nothing by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vsearch._lazy import lazy_names
from vsearch._version import __version__ as __version__

if TYPE_CHECKING:
    from vsearch import datasets, encoders, jpq
    from vsearch.api.build_and_open import build, build_documents, open, plan
    from vsearch.api.creating import create
    from vsearch.api.evaluation import Evaluation, evaluate
    from vsearch.api.hits import DocumentHits, Hit, Hits, fuse
    from vsearch.api.hybrid_hits import HybridHits
    from vsearch.api.index import Index
    from vsearch.api.progress import ProgressBar
    from vsearch.api.protocol import SearchableIndex
    from vsearch.api.reading import DocumentVectors, StoredVectors
    from vsearch.api.remote_hits import RemoteHits
    from vsearch.api.remote_index import RemoteIndex
    from vsearch.api.searching_many import search_many
    from vsearch.api.upkeep import prune, verify
    from vsearch.building.inputs.packed_bits import unpack_bits
    from vsearch.errors import (
        ChangesNotFoundError,
        ConflictError,
        CorruptIndexError,
        FormatVersionError,
        IncompleteAnswerError,
        IndexExistsError,
        IndexNotFoundError,
        InputError,
        MissingDependencyError,
        PredicateError,
        RemoteError,
        RemoteSnapshotNotFoundError,
        SearchTimeoutError,
        SnapshotNotFoundError,
        StoreError,
        VsearchDeprecationWarning,
        VsearchError,
        VsearchWarning,
    )
    from vsearch.fanout.calls.bill import Prices
    from vsearch.live.commits import Commit
    from vsearch.live.feed import Changes
    from vsearch.predicates import col
    from vsearch.quantizers.pq import PQ
    from vsearch.text.columns import TextColumn

__all__ = [
    "PQ",
    "Changes",
    "ChangesNotFoundError",
    "Commit",
    "ConflictError",
    "CorruptIndexError",
    "DocumentHits",
    "DocumentVectors",
    "Evaluation",
    "FormatVersionError",
    "Hit",
    "Hits",
    "HybridHits",
    "IncompleteAnswerError",
    "Index",
    "IndexExistsError",
    "IndexNotFoundError",
    "InputError",
    "MissingDependencyError",
    "PredicateError",
    "Prices",
    "ProgressBar",
    "RemoteError",
    "RemoteHits",
    "RemoteIndex",
    "RemoteSnapshotNotFoundError",
    "SearchTimeoutError",
    "SearchableIndex",
    "SnapshotNotFoundError",
    "StoreError",
    "StoredVectors",
    "TextColumn",
    "VsearchDeprecationWarning",
    "VsearchError",
    "VsearchWarning",
    "build",
    "build_documents",
    "col",
    "create",
    "datasets",
    "encoders",
    "evaluate",
    "fuse",
    "jpq",
    "open",
    "plan",
    "prune",
    "search_many",
    "unpack_bits",
    "verify",
]

__getattr__ = lazy_names(
    __name__,
    {
        "vsearch.api.build_and_open": ("build", "build_documents", "open", "plan"),
        "vsearch.api.creating": ("create",),
        "vsearch.api.evaluation": ("Evaluation", "evaluate"),
        "vsearch.api.hits": ("DocumentHits", "Hit", "Hits", "fuse"),
        "vsearch.api.hybrid_hits": ("HybridHits",),
        "vsearch.api.index": ("Index",),
        "vsearch.api.progress": ("ProgressBar",),
        "vsearch.api.reading": ("DocumentVectors", "StoredVectors"),
        "vsearch.api.remote_hits": ("RemoteHits",),
        "vsearch.api.protocol": ("SearchableIndex",),
        "vsearch.api.remote_index": ("RemoteIndex",),
        "vsearch.api.searching_many": ("search_many",),
        "vsearch.api.upkeep": ("prune", "verify"),
        "vsearch.building.inputs.packed_bits": ("unpack_bits",),
        "vsearch.datasets": ("datasets",),
        "vsearch.encoders": ("encoders",),
        "vsearch.errors": tuple(name for name in __all__ if name.endswith(("Error", "Warning"))),
        "vsearch.fanout.calls.bill": ("Prices",),
        "vsearch.jpq": ("jpq",),
        "vsearch.live.commits": ("Commit",),
        "vsearch.live.feed": ("Changes",),
        "vsearch.predicates": ("col",),
        "vsearch.quantizers.pq": ("PQ",),
        "vsearch.text.columns": ("TextColumn",),
    },
)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
