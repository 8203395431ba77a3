"""Objects that the tasks of a job write to the store: data under unique names, then one record that refers to them.

Only the first record of a task counts. A task may therefore run twice, even concurrently, and a task that dies leaves only
files that no record refers to.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

import msgspec
import numpy as np
from numpy.typing import NDArray

from vsearch.cluster.data_files import DataFile, Piece
from vsearch.cluster.job import RESULTS, Begun, Job
from vsearch.errors import ConflictError, CorruptIndexError, FormatVersionError, IndexNotFoundError, VsearchError
from vsearch.forking import cached_property
from vsearch.storage import SegmentFile, Store, read_manifest, snapshot_numbers, write_arrays
from vsearch.storage.files.checksums import crc32c
from vsearch.storage.snapshots.condemned import DATA_FOLDERS, JOBS, file_group
from vsearch.storage.snapshots.manifest import manifest_files

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Result = TypeVar("Result", bound=msgspec.Struct)


@dataclass(frozen=True, eq=False)
class Outputs:
    """The objects of one job.

    Attributes
    ----------
    store : Store
        Store of the index.
    id : str
        Id of the job.
    """

    store: Store
    id: str

    @cached_property
    def attempt(self) -> str:
        """Identifies the files of this run of a task."""
        return uuid4().hex[:12]

    @property
    def writer(self) -> str:
        """Prefix of the names of files that stay in the index; all files of a job are one group."""
        return f"{self.id}-{self.attempt}"

    def begin(self, job: Job) -> Begun:
        """Store the job unless it was started before; return the stored job."""
        with suppress(ConflictError):
            self.store.put(f"{JOBS}/{self.id}-job.json", msgspec.json.encode(Begun(uuid4().hex, job)))
        return self.begun()

    def begun(self) -> Begun:
        """Read the job; raises FileNotFoundError if it was not started or its objects were removed."""
        return self._decode(f"{JOBS}/{self.id}-job.json", Begun)

    def done(self) -> set[str]:
        """Paths of all records, from one listing."""
        return {info.path for info in self.store.list(JOBS) if file_group(info.path) == self.id}

    def record(self, stage: str, number: int = 0) -> str:
        """Path of the record of a task."""
        return f"{JOBS}/{self.id}-{stage}-{number:06d}.json"

    def has(self, stage: str, number: int = 0) -> bool:
        """Whether a task is done."""
        try:
            self.store.head(self.record(stage, number))
        except FileNotFoundError:
            return False
        return True

    def read(self, result: type[Result], stage: str, number: int = 0) -> Result:
        """Read the record of a task that is done."""
        return self._decode(self.record(stage, number), result)

    def finish(self, stage: str, number: int, result: msgspec.Struct, paths: Iterable[str]) -> None:
        """Record a task as done; if another run of it finished first, remove the files of this run."""
        try:
            self.store.put(self.record(stage, number), msgspec.json.encode(result))
        except ConflictError:
            stored = self._decode(self.record(stage, number), RESULTS[stage])
            if stored != result:  # else it is this record, put twice because a response was lost
                self.store.delete(paths)

    def path(self, stage: str, number: int, name: str) -> str:
        """Return a path for data of a task that no other run of it uses."""
        return f"{JOBS}/{self.id}-{stage}-{number:06d}-{self.attempt}-{name}.arrow"

    def write(self, stage: str, number: int, name: str, arrays: Mapping[str, NDArray[Any]]) -> DataFile:
        """Write arrays of equal length."""
        entry, sums = write_arrays(self.store, self.path(stage, number, name), arrays)
        return DataFile(entry, tuple(sums.tolist()))

    def arrays(
        self, file: DataFile, start: int | None = None, stop: int | None = None, names: Sequence[str] = ()
    ) -> dict[str, NDArray[Any]]:
        """Read rows ``start:stop`` of the arrays of a file, of all by default, and verify their checksums."""
        opened = SegmentFile(self.store, file.entry, np.array(file.sums, np.uint32))
        chosen = names or list(opened.arrays)
        opened.ensure_arrays([(name, start, stop) for name in chosen])
        return {name: opened.array(name)[start:stop] for name in chosen}

    def piece(self, path: str, piece: Piece) -> memoryview:
        """Read part of a file and verify its checksum."""
        data = self.store.get(path, start=piece.start, stop=piece.stop)
        if len(data) != piece.stop - piece.start or crc32c(bytes(data)) != piece.crc32c:
            raise CorruptIndexError(path, "does not match its checksum; remove the job with prune and build again")
        return data

    def clear(self) -> None:
        """Remove all objects of the job that no snapshot refers to; the job itself last, so that an interrupted removal can be repeated."""
        named: set[str] = set()
        for number in snapshot_numbers(self.store):
            try:
                named |= {entry.path for entry in manifest_files(read_manifest(self.store, number))}
            except IndexNotFoundError:
                continue
            except (CorruptIndexError, FormatVersionError):
                return
        of_job = [
            info.path
            for folder in (*DATA_FOLDERS, JOBS)
            for info in self.store.list(folder)
            if file_group(info.path) == self.id
        ]
        last = f"{JOBS}/{self.id}-job.json"
        self.store.delete([path for path in of_job if path not in named and path != last])
        self.store.delete([last])

    def committed(self, after: int) -> int | None:
        """Return the newest snapshot after `after` that this job committed; None if there is none."""
        for number in reversed(snapshot_numbers(self.store)):
            if number <= after:
                break
            with suppress(CorruptIndexError, FormatVersionError, IndexNotFoundError):
                model = read_manifest(self.store, number).model
                if any(file_group(entry.path) == self.id for entry in model.values()):
                    return number
        return None

    def _decode(self, path: str, kind: type[Result]) -> Result:
        data = bytes(self.store.get(path))
        try:
            return msgspec.json.decode(data, type=kind)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            raise CorruptIndexError(path, f"is damaged ({error}); remove the job with prune and build again") from error


def refuse_missing(error: Exception, store: Store, job: str, advice: str) -> None:
    """Raise ConflictError if `error` is that an object of a job no longer exists; otherwise do nothing."""
    if isinstance(error, FileNotFoundError) and not isinstance(error, VsearchError):
        raise ConflictError(f"{store.url}: objects of the {job} job are missing ({error}): {advice}") from error
