"""CRC32C (Castagnoli) of whole buffers and of their chunks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import google_crc32c
import numpy as np

from vsearch.storage.files.entries import CHUNK

if TYPE_CHECKING:
    from numpy.typing import NDArray


def crc32c(data: bytes | NDArray[np.uint8], crc: int = 0) -> int:
    """CRC32C of ``data``, continued from ``crc``."""
    return int(google_crc32c.extend(crc, data))


def chunk_checksums(data: NDArray[np.uint8], chunk: int = CHUNK) -> NDArray[np.uint32]:
    """CRC32C of every ``chunk`` bytes of ``data``; the last chunk may be shorter."""
    value = google_crc32c.value
    return np.array([value(data[i : i + chunk]) for i in range(0, len(data), chunk)], np.uint32)


def file_checksums(data: NDArray[np.uint8]) -> tuple[int, NDArray[np.uint32]]:
    """CRC32C of ``data`` and of each of its chunks, in one pass over memory."""
    value, extend, total = google_crc32c.value, google_crc32c.extend, 0
    chunks = np.empty(-(-len(data) // CHUNK), np.uint32)
    for i in range(len(chunks)):
        part = data[i * CHUNK : (i + 1) * CHUNK]
        chunks[i] = value(part)
        total = extend(total, part)
    return int(total), chunks
