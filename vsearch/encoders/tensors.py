"""Reading safetensors files: a length, a JSON header, raw buffers. Nothing is unpickled.

The header is a claim that a hostile or damaged file may get wrong: every offset, shape and size is checked before a byte
of a tensor is used.
"""

from __future__ import annotations

import json
import struct
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from vsearch.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

LARGEST_HEADER = 100_000_000
"""Most bytes of a header, as the format says."""

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
    """What the header says of one tensor."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


class Tensors:
    """The tensors of one safetensors file.

    Parameters
    ----------
    data : uint8 (n,)
        The whole file; may be a memory map.
    path : str
        What errors call the file.

    Raises
    ------
    InputError
        The header is not valid, or does not fit the file.
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

    def take(self, name: str, shape: Sequence[int]) -> NDArray[np.float32]:
        """Copy of a tensor as float32.

        Raises
        ------
        InputError
            There is no such tensor, or its type or shape is another, or it holds NaN or infinity.
        """
        tensor = self.entries.get(name)
        if tensor is None:
            raise InputError(f"{self.path}: there is no tensor {name!r}")
        if tensor.shape != tuple(shape):
            raise InputError(f"{self.path}: tensor {name!r} must have the shape {tuple(shape)}, got {tensor.shape}")
        raw = self._body[tensor.start : tensor.stop]
        if tensor.dtype == "BF16":  # the upper half of a float32
            values = (np.frombuffer(raw.tobytes(), "<u2").astype(np.uint32) << 16).view(np.float32)
        elif tensor.dtype in _FLOATS:
            with np.errstate(over="ignore"):
                values = np.frombuffer(raw.tobytes(), _FLOATS[tensor.dtype]).astype(np.float32)
        else:
            raise InputError(f"{self.path}: tensor {name!r} must hold floats, got {tensor.dtype}")
        if not np.isfinite(values).all():
            raise InputError(f"{self.path}: tensor {name!r} holds NaN, infinity or a number beyond float32")
        return values.reshape(tensor.shape)


def _split(data: NDArray[np.uint8], path: str) -> tuple[NDArray[np.uint8], Mapping[str, Any]]:
    """The buffers of a file and its header."""
    if len(data) < 8:
        raise InputError(f"{path}: a safetensors file has at least 8 bytes, got {len(data)}")
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
    """Check one entry of a header against the bytes there are; raises ValueError."""
    if not isinstance(fields, dict):
        raise ValueError("has no fields")  # noqa: TRY004  the file is wrong, not the caller
    dtype, shape, offsets = fields.get("dtype"), fields.get("shape"), fields.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        raise ValueError(f"has the type {str(dtype)[:20]!r}; known are {', '.join(ITEM_BYTES)}")
    if not isinstance(shape, list) or len(shape) > MOST_AXES or not all(_is_count(extent) for extent in shape):
        raise ValueError(f"has no valid shape; it must be a list of up to {MOST_AXES} counts")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(_is_count(offset) for offset in offsets):
        raise ValueError("has no valid data_offsets; they must be two counts")
    start, stop = offsets
    if not start <= stop <= size:
        raise ValueError(f"lies in bytes {start} to {stop} of {size}")
    needed = prod(shape) * ITEM_BYTES[dtype]
    if needed != stop - start:
        raise ValueError(f"of the shape {tuple(shape)} and type {dtype} takes {needed} bytes, got {stop - start}")
    return Tensor(dtype, tuple(shape), start, stop)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**62
