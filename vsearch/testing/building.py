"""Indexes for test suites, built without tuning, which would take most of the time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vsearch.api.index import Index
from vsearch.building.inputs.rows import InputArguments
from vsearch.building.pipeline import build_index
from vsearch.building.training import BuildOptions
from vsearch.search.state.snapshot import open_snapshot
from vsearch.storage import open_store


def build_untuned(
    url: str, vectors: npt.NDArray[np.float32], options: BuildOptions, attributes: pa.Table | None = None
) -> Index:
    """An index with the default settings of a search; ids are the rows."""
    store = open_store(url)
    manifest = build_index(
        store,
        vectors,
        arguments=InputArguments(attributes),
        options=options,
        overwrite=False,
        tune_defaults=lambda made: made,
        progress=lambda *_: None,
    )
    return Index(open_snapshot(store, manifest))
