"""Files of FAISS: flat indexes, IVF and product quantization, read without FAISS so that their sizes are checked first.

Vectors of product quantization are decoded: they are only as accurate as their codes. Integers and floats are little-endian,
and every array is preceded by its length, which is checked against the rest of the file.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import InputError
from vsearch.integrations.imports.source import BATCH, Columns, Source, make_source

LARGEST_DIMENSIONS = 65_536
LARGEST_BITS = 16
DEEPEST = 4
"""Maximum depth of indexes within indexes."""

METRICS = {0: "ip", 1: "l2"}
FLAT = (b"IxF2", b"IxFI", b"IxFl")
KNOWN = "flat indexes, IVF with flat or PQ codes, PQ, and these with ids (IDMap)"


class _File:
    """A file whose arrays are read piece by piece.

    Parameters
    ----------
    file : binary file
    name : str
        Name of the file in error messages.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file, self._name = file, name
        self._size = os.fstat(file.fileno()).st_size

    def fail(self, why: str) -> InputError:
        return InputError(f"{self._name} is not a FAISS file that can be imported: {why}")

    def need(self, size: int) -> int:
        """Return the current position in the file; it must be followed by `size` bytes."""
        place = self._file.tell()
        if size < 0 or size > self._size - place:
            raise self.fail(f"an array of {size} bytes at byte {place}, of {self._size} bytes in all")
        return place

    def skip(self, size: int) -> int:
        """Skip `size` bytes, and return the position of the first."""
        place = self.need(size)
        self._file.seek(size, os.SEEK_CUR)
        return place

    def seek(self, place: int) -> None:
        self._file.seek(place)

    def bytes(self, size: int) -> bytes:
        self.need(size)
        return self._file.read(size)

    def values(self, form: str) -> tuple[Any, ...]:
        return struct.unpack(f"<{form}", self.bytes(struct.calcsize(f"<{form}")))

    def array(self, dtype: str, count: int) -> NDArray[Any]:
        """Read `count` elements."""
        return np.frombuffer(self.bytes(count * np.dtype(dtype).itemsize), dtype)

    def counted(self, dtype: str) -> NDArray[Any]:
        """Read an array that is preceded by its length."""
        (count,) = self.values("Q")
        return self.array(dtype, count)

    def at(self, place: int, dtype: str, count: int) -> NDArray[Any]:
        """Read elements at a place that was checked."""
        self._file.seek(place)
        return self.array(dtype, count)


@dataclass(frozen=True)
class _Codec:
    """The encoding of rows: vectors or product quantization codes, relative to a centroid or not."""

    width: int
    centroids: NDArray[np.float32] | None = None  # (M, 2**bits, width / M)
    bits: int = 32

    @property
    def bytes(self) -> int:
        return 4 * self.width if self.centroids is None else -(-len(self.centroids) * self.bits // 8)

    def decode(self, codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the vectors of codes, uint8 (n, bytes)."""
        if self.centroids is None:
            return np.ascontiguousarray(codes).view("<f4").reshape(len(codes), self.width)
        parts = len(self.centroids)
        spread = np.unpackbits(codes, axis=1, count=parts * self.bits, bitorder="little")
        numbers = spread.reshape(len(codes), parts, self.bits) @ (1 << np.arange(self.bits))
        return self.centroids[np.arange(parts), numbers].reshape(len(codes), self.width)


@dataclass(frozen=True)
class _Piece:
    """Rows with consecutive codes in the file: a list of an inverted file, or all of them."""

    place: int
    count: int
    ids: int | None  # position of their ids; None if these are row numbers
    base: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class _Index:
    width: int
    total: int
    metric: str
    codec: _Codec
    pieces: list[_Piece]
    ids: NDArray[np.int64] | None = None


def read_faiss(path: str | os.PathLike[str]) -> Source:
    """Open a file written by `faiss.write_index`.

    Raises
    ------
    InputError
        The file is damaged, or the type of its index is not supported.
    """
    name = os.fspath(path)
    with _open(name) as file:
        index = _read(_File(file, name), 0)

    def batches() -> Iterator[tuple[Any, NDArray[np.float32], list[None]]]:
        with _open(name) as file:
            source, done = _File(file, name), 0
            for piece in index.pieces:
                for start in range(0, piece.count, BATCH):
                    rows = min(BATCH, piece.count - start)
                    size = index.codec.bytes
                    codes = source.at(piece.place + start * size, "u1", rows * size).reshape(rows, size)
                    vectors = index.codec.decode(codes)
                    ids = (
                        np.arange(done, done + rows)
                        if piece.ids is None
                        else source.at(piece.ids + 8 * start, "<i8", rows)
                    )
                    done += rows
                    if index.ids is not None:
                        if len(ids) and not 0 <= ids.min() <= ids.max() < len(index.ids):
                            raise source.fail("it has rows without an id")
                        ids = index.ids[ids]
                    with np.errstate(all="ignore"):  # a build refuses what is not finite
                        added = vectors if piece.base is None else vectors + piece.base
                    yield ids, added, [None] * rows

    return make_source(Columns(), index.width, batches(), text_ids=False, metric=index.metric)


def _open(name: str) -> BinaryIO:
    try:
        return open(name, "rb")  # noqa: PTH123  a string
    except OSError as error:
        raise InputError(f"{name}: {error.strerror}") from None


def _read(file: _File, depth: int) -> _Index:
    kind = file.bytes(4)
    if depth > DEEPEST:
        raise file.fail(f"indexes are nested more than {DEEPEST} levels deep")
    width, total, metric = _header(file)
    if kind in FLAT:
        (count,) = file.values("Q")
        if count != total * width:
            raise file.fail(f"{count} numbers for {total} vectors of {width} dimensions")
        return _Index(width, total, metric, _Codec(width), [_Piece(file.skip(4 * count), total, None)])
    if kind == b"IxPq":
        codec = _quantizer(file, width)
        (count,) = file.values("Q")
        if count != total * codec.bytes:
            raise file.fail(f"{count} bytes of codes for {total} vectors")
        piece = _Piece(file.skip(count), total, None)
        file.skip(4 + 1 + 4)  # search parameters
        return _Index(width, total, metric, codec, [piece])
    if kind in {b"IxMp", b"IxM2"}:
        inner = _read(file, depth + 1)
        ids = file.counted("<i8")
        if len(ids) != total or inner.total != total or inner.width != width or inner.ids is not None:
            raise file.fail("ids and vectors do not fit together")
        return _Index(width, total, inner.metric, inner.codec, inner.pieces, ids)
    if kind in {b"IwFl", b"IwPQ"}:
        return _read_inverted(file, kind, width, total, metric, depth)
    raise file.fail(f"its index is of the type {kind!r}; supported are {KNOWN}")


def _header(file: _File) -> tuple[int, int, str]:
    width, total, _, _, _, metric = file.values("iqqqBi")
    if not 1 <= width <= LARGEST_DIMENSIONS or total < 0:
        raise file.fail(f"{total} vectors of {width} dimensions")
    if metric not in METRICS:
        raise file.fail(f"its metric has the number {metric}; supported are inner product (0) and L2 (1)")
    return width, total, METRICS[metric]


def _quantizer(file: _File, width: int) -> _Codec:
    dimensions, parts, bits = file.values("QQQ")
    if dimensions != width or not 1 <= parts <= width or width % parts or not 1 <= bits <= LARGEST_BITS:
        raise file.fail(f"a product quantizer of {parts} parts of {bits} bits for {width} dimensions")
    shape = (parts, 1 << bits, width // parts)
    centroids = file.counted("<f4")
    if len(centroids) != prod(shape):
        raise file.fail(f"{len(centroids)} numbers for the centroids of a product quantizer, which has {prod(shape)}")
    return _Codec(width, centroids.reshape(shape), bits)


def _read_inverted(file: _File, kind: bytes, width: int, total: int, metric: str, depth: int) -> _Index:
    lists, _ = file.values("QQ")
    coarse = _read(file, depth + 1)
    if coarse.width != width or coarse.total != lists or coarse.codec.centroids is not None or coarse.ids is not None:
        raise file.fail("its lists and their centroids do not fit together")
    after = file.skip(0)
    bases = file.at(coarse.pieces[0].place, "<f4", lists * width).reshape(lists, width)
    file.seek(after)
    (direct,) = file.values("B")
    file.counted("<i8")
    if direct == 2:
        raise file.fail("it has a hash table of ids; make_direct_map(0) before writing it removes that")
    codec, residual = _Codec(width), False
    if kind == b"IwPQ":
        residual, size = file.values("BQ")
        codec = _quantizer(file, width)
        if size != codec.bytes:
            raise file.fail(f"codes of {size} bytes, expected {codec.bytes}")
    pieces = []
    for number, (place, count, ids) in enumerate(_lists(file, lists, codec.bytes)):
        pieces.append(_Piece(place, count, ids, bases[number] if residual else None))
    if sum(piece.count for piece in pieces) != total:
        raise file.fail(f"its lists do not have its {total} vectors")
    return _Index(width, total, metric, codec, pieces)


def _lists(file: _File, lists: int, size: int) -> Iterator[tuple[int, int, int]]:
    """Yield where the codes of each list are, how many they are, and where their ids are."""
    form = file.bytes(4)
    if form != b"ilar":
        raise file.fail(f"its lists are stored as {form!r}, not in the file itself")
    count, stored = file.values("QQ")
    layout = file.bytes(4)
    if count != lists or stored != size:
        raise file.fail(f"{count} lists with codes of {stored} bytes, where there should be {lists} of {size}")
    numbers = file.counted("<u8")
    if layout == b"full" and len(numbers) == lists:
        sizes = numbers.tolist()
    elif layout == b"sprs" and len(numbers) % 2 == 0 and all(place < lists for place in numbers[::2].tolist()):
        sizes = [0] * lists
        for place, length in zip(numbers[::2].tolist(), numbers[1::2].tolist(), strict=True):
            sizes[place] = length
    else:
        raise file.fail(f"the sizes of its lists are stored as {layout!r}")
    for length in sizes:
        yield file.skip(length * size), length, file.skip(8 * length)
