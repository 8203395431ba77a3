"""Load the postings of text columns in workers, which most searches do not need."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from vsearch.storage.snapshots.kinds import text_kind
from vsearch.storage.snapshots.text_entries import text_columns

if TYPE_CHECKING:
    from vsearch.search.state.snapshot import Snapshot
    from vsearch.storage import Manifest


def postings_kinds(manifest: Manifest, kinds: Iterable[str], *, lists: bool) -> list[str]:
    """Return the kinds of files that `load_postings` reads."""
    from vsearch.text.postings import ARRAYS, WHOLE

    names = ARRAYS if lists else WHOLE
    wanted = {text_kind(column.key, name) for column in text_columns(manifest.text) for name in names}
    return [kind for kind in kinds if kind in wanted]


def load_postings(snapshot: Snapshot, *, lists: bool) -> dict[str, int]:
    """Read the postings of all runs, or make them from texts; return their bytes in memory by file.

    Parameters
    ----------
    lists : bool
        Whether rows are ranked; otherwise only statistics are needed.
    """
    from vsearch.text.opening import load_text, open_text
    from vsearch.text.postings import WHOLE

    load_text(snapshot, lists=lists)
    sizes: dict[str, int] = {}
    for column in open_text(snapshot):
        for run, postings in zip(snapshot.shards, column.runs, strict=True):
            if postings.file is None:
                sizes[f"words of {id(run.read)} {column.entry.key}"] = postings.size
                continue
            for name, arrays in postings.arrays().items():
                if lists or name in WHOLE:
                    file = run.files[text_kind(column.entry.key, name)]
                    size = sum(array.nbytes for array in arrays.values())
                    whole = file.path == postings.file.path  # all parts of a bundle
                    sizes[f"{file.path} {column.entry.key} {name}" if whole else file.path] = size
    return sizes
