"""Read safetensors files: a length, a JSON header, and raw buffers. Nothing is unpickled.

Headers are not trusted: every offset, shape and size is checked before a tensor is read.
"""

from __future__ import annotations

import json
import struct
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from vsearch.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

LARGEST_HEADER = 10_000_000
"""Maximum size of a header in bytes. The format allows ten times as many, but the largest supported model needs less than 1 MB."""

MOST_AXES = 8

ITEM_BYTES = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "U16": 2,
    "I16": 2,
    "F16": 2,
    "BF16": 2,
    "U32": 4,
    "I32": 4,
    "F32": 4,
    "U64": 8,
    "I64": 8,
    "F64": 8,
}
_FLOATS = {"F16": "<f2", "F32": "<f4", "F64": "<f8"}


class Tensor(NamedTuple):
    """The header entry of a tensor."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


class Tensors:
    """The tensors of one safetensors file.

    Parameters
    ----------
    data : uint8 (n,)
        The contents of the file; may be a memory map.
    path : str
        Name of the file in error messages.

    Raises
    ------
    InputError
        The header is invalid or does not match the file.
    """

    def __init__(self, data: NDArray[np.uint8], path: str) -> None:
        self.path = path
        self._body, header = _split(data, path)
        self.entries: dict[str, Tensor] = {}
        for name, fields in header.items():
            if name != "__metadata__":
                try:
                    self.entries[name] = _parse(fields, len(self._body))
                except ValueError as error:
                    raise InputError(f"{path}: tensor {name[:100]!r} {error}") from None
        shared = find_overlap((name, tensor.start, tensor.stop) for name, tensor in self.entries.items())
        if shared is not None:
            first, second = (name[:100] for name in shared)
            raise InputError(f"{path}: tensors must not share bytes, got {first!r} and {second!r} that do")

    def take(self, name: str, shape: Sequence[int]) -> NDArray[np.float32]:
        """Return a copy of a tensor as float32.

        Raises
        ------
        InputError
            The tensor is missing, has another type or shape, or is not finite.
        """
        tensor = self.entries.get(name)
        if tensor is None:
            raise InputError(f"{self.path}: tensor {name!r} is missing")
        if tensor.shape != tuple(shape):
            raise InputError(f"{self.path}: tensor {name!r} must have the shape {tuple(shape)}, got {tensor.shape}")
        raw = self._body[tensor.start : tensor.stop]
        if tensor.dtype == "BF16":  # the upper half of a float32
            values = (np.frombuffer(raw.tobytes(), "<u2").astype(np.uint32) << 16).view(np.float32)
        elif tensor.dtype in _FLOATS:
            with np.errstate(over="ignore", invalid="ignore"):
                values = np.frombuffer(raw.tobytes(), _FLOATS[tensor.dtype]).astype(np.float32)
        else:
            raise InputError(f"{self.path}: tensor {name!r} must have a float type, got {tensor.dtype}")
        if not np.isfinite(values).all():
            raise InputError(f"{self.path}: tensor {name!r} contains NaN, infinity or a number beyond float32")
        return values.reshape(tensor.shape)


def find_overlap(ranges: Iterable[tuple[str, int, int]]) -> tuple[str, str] | None:
    """Return the names of two ranges (name, start, stop) of bytes that overlap; None if no two do.

    A small file whose arrays share their bytes could take any amount of memory once each array is converted.
    """
    previous, end = "", 0
    for name, start, stop in sorted(ranges, key=lambda entry: entry[1:]):
        if start < min(end, stop):
            return previous, name
        if stop > end:
            previous, end = name, stop
    return None


def _split(data: NDArray[np.uint8], path: str) -> tuple[NDArray[np.uint8], Mapping[str, Any]]:
    """Split a file into its buffers and its header."""
    if len(data) < 8:
        raise InputError(f"{path}: a safetensors file must have at least 8 bytes, got {len(data)}")
    (length,) = struct.unpack("<Q", data[:8].tobytes())
    if length > min(LARGEST_HEADER, len(data) - 8):
        raise InputError(f"{path}: a header of {length} bytes does not fit a file of {len(data)} bytes")
    try:
        header = json.loads(data[8 : 8 + length].tobytes(), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: the header is not valid JSON: {error}") from None
    if not isinstance(header, dict):
        raise InputError(f"{path}: the header must be a JSON object, got {type(header).__name__}")
    return data[8 + length :], header


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a key occurs twice")
    return fields


def _parse(fields: Any, size: int) -> Tensor:
    """Check a header entry against the size of the buffers; raises ValueError."""
    if not isinstance(fields, dict):
        raise ValueError("has no fields")  # noqa: TRY004  the file is wrong, not the caller
    dtype, shape, offsets = fields.get("dtype"), fields.get("shape"), fields.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        raise ValueError(f"must have one of the types {', '.join(ITEM_BYTES)}, got {str(dtype)[:20]!r}")
    if not isinstance(shape, list) or len(shape) > MOST_AXES or not all(_is_count(extent) for extent in shape):
        raise ValueError(f"must have a shape of up to {MOST_AXES} nonnegative integers")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(_is_count(offset) for offset in offsets):
        raise ValueError("must have data_offsets of two nonnegative integers")
    start, stop = offsets
    if not start <= stop <= size:
        raise ValueError(f"must lie within {size} bytes, got bytes {start} to {stop}")
    needed = prod(shape) * ITEM_BYTES[dtype]
    if needed != stop - start:
        raise ValueError(f"of shape {tuple(shape)} and type {dtype} must have {needed} bytes, got {stop - start}")
    return Tensor(dtype, tuple(shape), start, stop)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**62
