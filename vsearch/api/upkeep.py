"""Maintenance of the files of an index without opening it: prune and verify."""

from __future__ import annotations

import os
from collections.abc import Callable

from vsearch.storage import GRACE, PruneReport, VerifyReport, open_store
from vsearch.storage import prune as prune_store
from vsearch.storage import verify as verify_store

Progress = Callable[[str, int, int], None]


def prune(
    url: str | os.PathLike[str],
    keep: int = 2,
    *,
    grace: float | None = None,
    older_than: float | None = None,
    dry_run: bool = False,
    **storage: object,
) -> PruneReport:
    """Remove old snapshots, and files that no snapshot names.

    The newest `keep` snapshots stay, as do tagged ones and those that were superseded less than `older_than` seconds ago: by
    default an hour for an index that changes, since readers may still use them; 0 for one that was only built.

    Files of writers that were active within the last `grace` seconds (a day by default) stay, since a build may be in progress.
    With `dry_run`, files are reported but not removed.
    """
    store = open_store(url, **storage)
    return prune_store(store, keep, grace=GRACE if grace is None else grace, older_than=older_than, dry_run=dry_run)


def verify(
    url: str | os.PathLike[str], snapshot: int | None = None, progress: Progress | None = None, **storage: object
) -> VerifyReport:
    """Read every file of a snapshot and verify its checksums; the report names damaged files."""

    def report(done: int, total: int) -> None:
        if progress is not None:
            progress("verify", done, total)

    return verify_store(open_store(url, **storage), snapshot, report)
