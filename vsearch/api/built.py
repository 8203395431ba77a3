"""Tuning the default settings of indexes that are written but not yet committed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from vsearch.search.defaults import tune_defaults
from vsearch.search.state.snapshot import open_snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

    from vsearch.storage import Store

    Progress = Callable[[str, int, int], None]


def tune_built(store: Store, manifest: Any, report: Progress, spill: bool | str = False) -> Any:
    """Tune the default settings of an index that is written but not yet committed.

    With ``spill="auto"``, also decide whether it keeps the copies of its rows.
    """
    report("tune", 0, 1)
    if spill == "auto" and manifest.spill is True:
        from vsearch.building.spilling import choose_copies

        manifest = choose_copies(store, manifest)
        report("tune", 1, 1)
        return manifest
    settings = tune_defaults(open_snapshot(store, manifest))
    report("tune", 1, 1)
    return msgspec.structs.replace(manifest, settings=settings.to_entry())


def tune_built_documents(store: Store, manifest: Any, queries: Any, report: Progress) -> Any:
    """Tune the default settings of a document index that is written but not yet committed."""
    from vsearch.multivector.tuning import tune_encodings

    report("tune", 0, 1)
    snapshot = open_snapshot(store, manifest)
    settings = tune_encodings(snapshot, queries)
    report("tune", 1, 1)
    return msgspec.structs.replace(manifest, settings=settings.to_entry())
