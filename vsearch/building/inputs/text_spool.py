"""Vectors of texts on disk, chunk by chunk, so that a killed build can resume.

A folder holds ``vectors.bin`` (float32), ``chunks.bin`` (a record for each chunk: SHA-256 of its texts, number of texts, CRC32C of
its vectors) and ``spool.json`` (which encoder computed them). A record is written after its vectors. Chunks are reused as long as texts and
vectors match the records; the rest is computed again.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import struct
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import msgspec
import numpy as np

from vsearch.errors import InputError, StoreError
from vsearch.storage.files.checksums import crc32c
from vsearch.storage.stores.advice import explain_system
from vsearch.storage.stores.scratch import hold, release

if TYPE_CHECKING:
    from numpy.typing import NDArray

DESCRIPTION, CHUNKS, VECTORS = "spool.json", "chunks.bin", "vectors.bin"
FORMAT = 1

_RECORD = struct.Struct("<32sII")


class Description(msgspec.Struct, frozen=True):
    """The contents of ``spool.json``."""

    format: int
    computed_by: str
    dimensions: int


class TextSpool:
    """An open spool, for one process at a time.

    Parameters
    ----------
    folder : Path
        Created if missing. Must not contain other files.
    computed_by : str
        Identifies the encoder; vectors of another encoder are removed.
    dimensions : int

    Raises
    ------
    InputError
        The folder contains other files, or another process uses it.
    StoreError
        The folder cannot be written.
    """

    def __init__(self, folder: Path, computed_by: str, dimensions: int) -> None:
        self._folder, self._dimensions = folder, dimensions
        self._done = self.rows = 0
        expected = Description(FORMAT, computed_by, dimensions)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            foreign = sorted(path.name for path in folder.iterdir() if path.name not in (DESCRIPTION, CHUNKS, VECTORS))
            if foreign:
                raise InputError(f"{folder}: the folder of a spool must contain nothing else, got {foreign[0]!r}")
            self._lock = hold(folder)
            if self._lock is None:
                raise InputError(f"{folder}: another build uses this spool; wait for it, or name another folder")
            if _read_description(folder) != expected:
                for name in (DESCRIPTION, CHUNKS, VECTORS):
                    (folder / name).unlink(missing_ok=True)
                (folder / DESCRIPTION).write_bytes(msgspec.json.encode(expected))
            for name in (CHUNKS, VECTORS):
                (folder / name).touch()
            self._chunks = (folder / CHUNKS).open("r+b")
            self._vectors = (folder / VECTORS).open("r+b")
        except OSError as error:
            raise _explained(folder, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._chunks.close()
        self._vectors.close()
        release(self._lock)
        self._lock = None

    def skip(self, texts: Sequence[str]) -> bool:
        """Whether the spool has the vectors of the next texts; if not, later ones are missing too."""
        record = self._chunks.read(_RECORD.size)
        if len(record) == _RECORD.size:
            digest, count, checksum = _RECORD.unpack(record)
            size = 4 * count * self._dimensions
            if digest == digest_of(texts) and count == len(texts) and crc32c(self._vectors.read(size)) == checksum:
                self._done += 1
                self.rows += count
                return True
        self._chunks.truncate(self._done * _RECORD.size)
        self._vectors.truncate(4 * self.rows * self._dimensions)
        self._chunks.seek(0, os.SEEK_END)
        self._vectors.seek(0, os.SEEK_END)
        return False

    def add(self, texts: Sequence[str], vectors: NDArray[np.float32]) -> None:
        """Append the vectors float32 (m, dimensions) of texts.

        Raises
        ------
        StoreError
            The disk is full, or fails.
        """
        data = np.ascontiguousarray(vectors, "<f4").tobytes()
        try:
            self._vectors.write(data)
            self._vectors.flush()
            self._chunks.write(_RECORD.pack(digest_of(texts), len(texts), crc32c(data)))
            self._chunks.flush()
        except OSError as error:
            raise _explained(self._folder, error) from error
        self._done += 1
        self.rows += len(texts)

    def read(self) -> NDArray[np.float32]:
        """All vectors float32 (rows, dimensions), memory-mapped; the spool must have at least one."""
        self._vectors.flush()
        shape = (self.rows, self._dimensions)
        return np.asarray(np.memmap(self._folder / VECTORS, "<f4", "r", shape=shape))

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self._folder, ignore_errors=True)


def digest_of(texts: Sequence[str]) -> bytes:
    """SHA-256 of texts, each preceded by its length."""
    digest = hashlib.sha256()
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        digest.update(struct.pack("<Q", len(data)))
        digest.update(data)
    return digest.digest()


def _read_description(folder: Path) -> Description | None:
    try:
        return msgspec.json.decode((folder / DESCRIPTION).read_bytes(), type=Description)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def _explained(folder: Path, error: OSError) -> StoreError:
    return StoreError(f"cannot write to the spool {folder}: {explain_system(error)}")
