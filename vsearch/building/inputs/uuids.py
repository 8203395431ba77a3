"""Conversion of UUIDs in Arrow columns to their canonical strings."""

from __future__ import annotations

from typing import Any

import numpy as np

UUID_BYTES = 16
_DIGITS = np.frombuffer(b"0123456789abcdef", np.uint8)
_DASHES = (8, 13, 18, 23)
_LENGTH = 36


def is_uuid(kind: Any) -> bool:
    """Whether an Arrow type holds UUIDs: arrow.uuid, or fixed-size binary of 16 bytes."""
    import pyarrow as pa

    if isinstance(kind, pa.BaseExtensionType):
        return str(kind.extension_name) == "arrow.uuid"
    return bool(pa.types.is_fixed_size_binary(kind)) and kind.byte_width == UUID_BYTES


def uuid_strings(array: Any) -> Any:
    """Canonical strings of an array of 16-byte values; NULL stays NULL."""
    import pyarrow as pa
    import pyarrow.compute as pc

    storage = array.storage if isinstance(array, pa.ExtensionArray) else array
    valid = storage.is_valid().to_numpy(zero_copy_only=False)
    present = pc.cast(storage.drop_null(), pa.binary())
    _, offsets, data = present.buffers()
    first = int(np.frombuffer(offsets, np.int32)[present.offset]) if len(present) else 0
    raw = np.frombuffer(data or b"", np.uint8)[first : first + UUID_BYTES * len(present)].reshape(-1, UUID_BYTES)
    text = np.full((len(raw), _LENGTH), ord("-"), np.uint8)
    digit_positions = np.setdiff1d(np.arange(_LENGTH), _DASHES)
    text[:, digit_positions[0::2]] = _DIGITS[raw >> 4]
    text[:, digit_positions[1::2]] = _DIGITS[raw & 15]
    ends = np.concatenate([[0], np.cumsum(valid)]).astype(np.int32) * _LENGTH
    bits = pa.py_buffer(np.packbits(valid, bitorder="little").tobytes())
    return pa.Array.from_buffers(pa.string(), len(valid), [bits, pa.py_buffer(ends), pa.py_buffer(text)])
