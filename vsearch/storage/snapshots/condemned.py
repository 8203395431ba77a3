"""Markers of the files that a prune is about to remove; and the removal of files of failed writers.

A prune puts a marker with the names of files, then lists the manifests, and removes the files that none refers to. A writer puts
its manifest, then looks for markers. So at least one of them sees the other: either the file is kept, or the writer waits for the prune
to end, and takes its manifest back if the file was removed.
"""

from __future__ import annotations

import logging
import re
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import msgspec

from vsearch.errors import CorruptIndexError, FormatVersionError, IndexNotFoundError, VsearchError
from vsearch.storage.snapshots.commits import read_manifest, snapshot_numbers
from vsearch.storage.snapshots.manifest import manifest_files

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from vsearch.storage.stores.base import ObjectInfo, Store

logger = logging.getLogger("vsearch")

DATA_FOLDERS = ("model", "segments")

JOBS = "jobs"
"""Folder of the objects of jobs that are not finished."""

LIFETIME = timedelta(minutes=10)
"""Lifetime of a marker; a prune stops long before that."""

_MARKER = re.compile(r"manifest/condemned-[0-9a-f]{32}\.json")


def file_group(path: str) -> str:
    """Return the common prefix of the files of a writer: the name up to the first hyphen; each temporary file is its own group."""
    name = path.rsplit("/", 1)[-1]
    return name if name.startswith(".") else name.split("-", 1)[0]


def is_marker(path: str) -> bool:
    """Whether a path is a marker of a prune."""
    return _MARKER.fullmatch(path) is not None


def put_marker(store: Store, paths: Iterable[str]) -> str:
    """Condemn files; return the path of the marker."""
    path = f"manifest/condemned-{uuid4().hex}.json"
    store.put(path, msgspec.json.encode(sorted(paths)))
    return path


def condemned_paths(store: Store, infos: Iterable[ObjectInfo], now: datetime | None) -> set[str]:
    """Return the files that markers condemn.

    A missing marker belonged to a completed prune; one that is old by the store's clock (`now`) to a killed prune.
    """
    paths: set[str] = set()
    for info in infos:
        if is_marker(info.path) and (now is None or now - info.modified < LIFETIME):
            try:
                paths.update(msgspec.json.decode(bytes(store.get(info.path)), type=list[str]))
            except FileNotFoundError:
                continue
            except msgspec.DecodeError:
                continue  # not a marker of this format
    return paths


def discard(store: Store, group: str) -> None:
    """Remove the files of a writer that failed before its commit, unless a manifest refers to some of them."""
    paths = {info.path for folder in DATA_FOLDERS for info in store.list(folder) if file_group(info.path) == group}
    for number in snapshot_numbers(store) if paths else ():
        try:
            named = {entry.path for entry in manifest_files(read_manifest(store, number))}
        except IndexNotFoundError:
            continue
        except (CorruptIndexError, FormatVersionError):
            return
        if named & paths:
            return
    store.delete(sorted(paths))


@contextmanager
def discarded_on_failure(store: Store, writer: str) -> Iterator[None]:
    """Remove the files of a writer if the body fails.

    Only for work before a commit, since files may be in use afterwards.
    """
    try:
        yield
    except BaseException:
        try:
            discard(store, writer)
        except VsearchError as error:
            logger.warning("%s: files of a failed writer are left for a later prune: %s", store.url, error)
        raise
