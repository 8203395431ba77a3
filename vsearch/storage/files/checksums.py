"""CRC32C (Castagnoli) of whole buffers and of their chunks."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import google_crc32c
import numpy as np

from vsearch.storage.files.entries import CHUNK

if TYPE_CHECKING:
    from numpy.typing import NDArray

_POLYNOMIAL = 0x82F63B78  # of CRC32C, lowest bit first


def crc32c(data: bytes | NDArray[np.uint8], crc: int = 0) -> int:
    """CRC32C of ``data``, continued from ``crc``."""
    return int(google_crc32c.extend(crc, data))


def chunk_checksums(data: NDArray[np.uint8], chunk: int = CHUNK) -> NDArray[np.uint32]:
    """CRC32C of every ``chunk`` bytes of ``data``; the last chunk may be shorter."""
    value = google_crc32c.value
    return np.array([value(data[i : i + chunk]) for i in range(0, len(data), chunk)], np.uint32)


def file_checksums(data: NDArray[np.uint8], chunk: int = CHUNK) -> tuple[int, NDArray[np.uint32]]:
    """CRC32C of ``data`` and of each of its chunks, in one pass over memory."""
    extend, total, parts = google_crc32c.extend, 0, []
    for first in range(0, len(data), CHUNK):
        part = data[first : first + CHUNK]
        parts.append(chunk_checksums(part, chunk))
        total = extend(total, part)
    return int(total), np.concatenate(parts) if parts else np.empty(0, np.uint32)


def joined_checksums(checksums: NDArray[np.uint32], chunk: int) -> NDArray[np.uint32]:
    """CRC32C of neighboring chunks together, from those of each, uint32 (n, chunks), without their bytes.

    A checksum is linear in the bytes (over GF(2)), so that of two pieces is that of the first, continued by as many zero bytes as the
    second has, plus that of the second.
    """
    tables = _continued_by_zeros(chunk)
    joined = checksums[:, 0]
    for place in range(1, checksums.shape[1]):
        continued = tables[0][joined & 255] ^ tables[1][(joined >> 8) & 255]
        continued ^= tables[2][(joined >> 16) & 255] ^ tables[3][joined >> 24]
        joined = continued ^ checksums[:, place]
    return joined


@cache
def _continued_by_zeros(count: int) -> NDArray[np.uint32]:
    """What ``count`` zero bytes, a power of two, make of each byte of a checksum, uint32 (4, 256)."""
    bits = [1 << (bit - 1) if bit else _POLYNOMIAL for bit in range(32)]  # images of the single bits, for one zero bit
    steps = 8 * count
    while steps > 1:  # squaring doubles the number of zero bits
        bits = [_image(bits, image) for image in bits]
        steps >>= 1
    return np.array([[_image(bits, byte << (8 * place)) for byte in range(256)] for place in range(4)], np.uint32)


def _image(bits: list[int], checksum: int) -> int:
    """The sum of the images of the bits of a checksum."""
    total = 0
    while checksum:
        low = checksum & -checksum
        total ^= bits[low.bit_length() - 1]
        checksum ^= low
    return total
