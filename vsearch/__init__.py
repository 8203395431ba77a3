"""A compressed vector search engine.

>>> import vsearch
>>> sample = vsearch.datasets.load("wordnet-10k")
>>> index = vsearch.build(sample.vectors, "my-index", attributes=sample.attributes)  # doctest: +SKIP
>>> hits = index.search(sample.queries[0], k=3, where="pos = 'noun' AND gloss_len < 80")  # doctest: +SKIP

A public name is imported when it is first used, so that ``import vsearch`` costs nothing by itself.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vsearch import datasets, jpq
    from vsearch.building.packing import unpack_bits
    from vsearch.errors import (
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
        VsearchError,
        VsearchWarning,
    )
    from vsearch.evaluation import Evaluation, evaluate
    from vsearch.facade import build, build_documents, open, plan, prune, verify
    from vsearch.fanout.remote import RemoteIndex
    from vsearch.fanout.remote_hits import RemoteHits
    from vsearch.hits import DocumentHits, Hits
    from vsearch.index import Index
    from vsearch.predicates import col
    from vsearch.quantizers.pq import PQ

__version__ = "0.1.0"

__all__ = [
    "PQ",
    "ConflictError",
    "CorruptIndexError",
    "DocumentHits",
    "Evaluation",
    "FormatVersionError",
    "Hits",
    "IncompleteAnswerError",
    "Index",
    "IndexExistsError",
    "IndexNotFoundError",
    "InputError",
    "MissingDependencyError",
    "PredicateError",
    "RemoteError",
    "RemoteHits",
    "RemoteIndex",
    "RemoteSnapshotNotFoundError",
    "SearchTimeoutError",
    "SnapshotNotFoundError",
    "StoreError",
    "VsearchError",
    "VsearchWarning",
    "build",
    "build_documents",
    "col",
    "datasets",
    "evaluate",
    "jpq",
    "open",
    "plan",
    "prune",
    "unpack_bits",
    "verify",
]

_HOMES = {
    **dict.fromkeys(("build", "build_documents", "open", "plan", "prune", "verify"), "vsearch.facade"),
    "Index": "vsearch.index",
    **dict.fromkeys(("DocumentHits", "Hits"), "vsearch.hits"),
    "RemoteHits": "vsearch.fanout.remote_hits",
    "RemoteIndex": "vsearch.fanout.remote",
    **dict.fromkeys(("Evaluation", "evaluate"), "vsearch.evaluation"),
    "PQ": "vsearch.quantizers.pq",
    "unpack_bits": "vsearch.building.packing",
    "col": "vsearch.predicates",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'vsearch' has no attribute {name!r}")
    if name in ("datasets", "jpq"):
        return import_module(f"vsearch.{name}")
    value = getattr(import_module(_HOMES.get(name, "vsearch.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
