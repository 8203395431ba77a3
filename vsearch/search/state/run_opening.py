"""Open the runs of a snapshot, in files and in bundles, and read its deltas."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import numpy as np

from vsearch.search.state.copies import moved_copies
from vsearch.search.state.layout import open_run
from vsearch.search.state.shard import Shard
from vsearch.search.state.workspace import pack_shard
from vsearch.storage import Manifest, ShardEntry, Store, ensure_together, open_files
from vsearch.storage.snapshots.kinds import COPY_PARTITIONS, PARTITIONS, REMOVED

if TYPE_CHECKING:
    from vsearch.search.state.deltas import Delta, Gone, Removed
    from vsearch.search.state.model import Model
    from vsearch.storage import SegmentFile
    from vsearch.storage.snapshots.manifest import EncodingEntry, SegmentEntry


@dataclass(frozen=True, eq=False)
class KnownRuns:
    """Runs and deltas of open snapshots, by path, which other snapshots can share."""

    runs: dict[str, Shard] = field(default_factory=dict)
    deltas: dict[str, Delta] = field(default_factory=dict)

    def add(self, runs: Iterable[Shard]) -> None:
        """Add the runs of an open snapshot of the same training."""
        self.runs.update((run.files[PARTITIONS].path, run) for run in runs)

    def run(self, path: str, rows: int) -> Shard | None:
        """The run of a path, if it has as many rows as a manifest says."""
        run = self.runs.get(path)
        return run if run is not None and run.rows == rows else None

    def add_deltas(self, manifest: Manifest, deltas: Sequence[Delta]) -> None:
        """Add the deltas of an open snapshot of the same model."""
        entries = manifest.live.deltas if manifest.live else ()
        self.deltas.update((entry.bundle.path, delta) for entry, delta in zip(entries, deltas, strict=True))


@dataclass(frozen=True, eq=False)
class _Source:
    """A run to open: its manifest entries, its files, and the same run of an open snapshot, if any."""

    shard: ShardEntry
    entry: SegmentEntry | None
    files: dict[str, SegmentFile]
    encodings: Mapping[str, EncodingEntry]
    first_partition: int
    known: Shard | None

    @property
    def partitions(self) -> range:
        return range(self.first_partition, self.first_partition + self.shard.partitions)

    @property
    def rows(self) -> int:
        return self.shard.rows if self.entry is None else self.entry.rows

    @property
    def segment(self) -> int:
        if self.entry is not None:
            return self.entry.number
        return self.shard.segment if isinstance(self.shard.segment, int) else self.shard.number


class RunOpener:
    """Opens the runs of all shards of a snapshot, or of one.

    Parameters
    ----------
    store : Store
    model : Model
    manifest : Manifest
    known : KnownRuns
    only : int, optional
        Open only this shard. Its rows and partitions keep their numbers in the index.
    plain : bool
        Whether to avoid pyarrow.
    """

    def __init__(
        self, store: Store, model: Model, manifest: Manifest, known: KnownRuns, only: int | None, *, plain: bool
    ) -> None:
        self._store, self._model, self._manifest, self._known = store, model, manifest, known
        self._only, self._plain = only, plain
        firsts = np.cumsum([0, *(entry.partitions for entry in manifest.shards)]).tolist()
        self._firsts: list[int] = firsts
        self._partitions = range(firsts[-1]) if only is None else range(firsts[only], firsts[only + 1])
        self.runs: list[Shard] = []
        self.gone: Gone | None = None
        self.first_row = self.tail_rows = 0

    @property
    def partitions(self) -> range:
        """The partitions of these shards."""
        return self._partitions

    def open(self) -> tuple[Delta, ...]:
        """Open the runs, read the deltas, and apply all removals.

        Afterwards, `gone` has all removed rows, `first_row` is the number of rows in the runs of all shards, and `tail_rows`
        the number of live rows of the deltas.
        """
        sources: list[_Source] = []
        firsts, first_row = [], 0
        for entry in self._manifest.shards:
            counts = [entry.rows, *([entry.young.rows] if entry.young else [])]
            if self._only in (None, entry.number):
                sources += self._sources(entry)
                firsts += [first_row, first_row + counts[0]][: len(counts)]
            first_row += sum(counts)
        self._read_tables([source for source in sources if source.known is None])
        removed = []
        for source, first in zip(sources, firsts, strict=True):
            self._add(self._open(source), first, source.segment)
            if source.entry is not None:
                from vsearch.search.state.deltas import read_removed

                path = source.entry.bundle.path
                id_type = None if self._plain else self._manifest.id_type
                removed.append(read_removed(source.files, source.entry.removed, id_type, path))
        self.first_row = first_row
        return self._read_deltas(removed) if self._manifest.live else ()

    def _sources(self, shard: ShardEntry) -> list[_Source]:
        first, snapshot, sources = self._firsts[shard.number], self._manifest.snapshot, []
        if not shard.base:
            path = shard.files[PARTITIONS].path if PARTITIONS in shard.files else ""
            known = self._known.run(path, shard.rows)
            files = open_files(self._store, shard, snapshot) if known is None else known.files
            sources.append(_Source(shard, None, files, shard.columns, first, known))
        for entry in shard.runs:
            from vsearch.search.state.runs import run_columns
            from vsearch.storage.files.bundle import open_bundle

            known = self._known.run(entry.bundle.path, entry.rows)
            if known is not None:
                sources.append(_Source(shard, entry, known.files, known.encodings, first, known))
                continue
            bundle = open_bundle(self._store, entry.bundle, snapshot)
            columns = run_columns(bundle, entry.bundle.path)
            sources.append(_Source(shard, entry, bundle.files, columns, first, None))
        return sources

    def _read_tables(self, sources: Sequence[_Source]) -> None:
        """Read the partition tables of bundles together; those in files are small or already read."""
        files = [
            source.files[kind]
            for source in sources
            for kind in (PARTITIONS, COPY_PARTITIONS, REMOVED)
            if source.entry is not None and kind in source.files
        ]
        ensure_together([(file, name, None, None) for file in files for name in file.arrays])

    def _open(self, source: _Source) -> Shard:
        known = source.known
        if known is None:
            text = self._manifest.id_type == "string"
            return open_run(self._model, source.files, source.partitions, source.rows, source.encodings, text=text)
        first, native = source.first_partition, known.native
        if first != known.first_partition:  # partitions of an earlier shard were split
            native = pack_shard(first, known.rows, known.table, known.arrays)
        return Shard(
            0,
            first,
            0,
            known.rows,
            known.table,
            known.files,
            known.arrays,
            native,
            known.encodings,
            state=known.read,
            copies=moved_copies(known.copies, first),
        )

    def _read_deltas(self, removed: Sequence[Removed]) -> tuple[Delta, ...]:
        from vsearch.search.state.deltas import Gone, read_delta

        manifest, model, deltas = self._manifest, self._model, []
        entries = manifest.live.deltas if manifest.live else ()
        for entry in entries:
            known = self._known.deltas.get(entry.bundle.path)
            if known is None or known.number != entry.number:
                only = self._partitions if self._plain else None
                known = read_delta(self._store, entry, model, manifest, only=only)
            deltas.append(known)
        self.gone = gone = Gone([*removed, *(delta.removed for delta in deltas)])
        for run in self.runs:
            run.gone = gone.check(cast("int", run.segment), run.rows, run.files[PARTITIONS].path)
        for entry in entries:
            self.tail_rows += entry.rows - len(gone.check(entry.number, entry.rows, entry.bundle.path))
        return tuple(deltas)

    def _add(self, run: Shard, first_row: int, segment: int) -> None:
        run.number, run.first_row, run.segment = len(self.runs), first_row, segment
        self.runs.append(run)
