"""Hamming MaxSim on bit-packed centroid numbers."""

from __future__ import annotations

import numpy as np

from vsearch.kernels.toolchain.compiling import inlined, kernel

PADDING = 2  # bytes after the packed numbers, so that each can be read as three bytes


@inlined
def read_number(packed, token, bits):
    """Read number `token` of a stream of numbers of `bits` bits (1 to 16), lowest bit first."""
    at = token * bits
    first = at >> 3
    word = np.int64(packed[first]) | np.int64(packed[first + 1]) << 8 | np.int64(packed[first + 2]) << 16
    return (word >> (at & 7)) & ((np.int64(1) << bits) - 1)


@kernel
def pack_numbers(numbers, bits, packed):
    """Pack numbers into a bit stream.

    Parameters
    ----------
    numbers : uint16 (n,)
    bits : int
        Bits per number, 1 to 16.
    packed : uint8 (ceil(n * bits / 8) + 2,), zero
        Output.
    """
    for token in range(numbers.shape[0]):
        at = token * bits
        word = np.int64(numbers[token]) << (at & 7)
        for byte in range(3):
            packed[(at >> 3) + byte] |= np.uint8((word >> (8 * byte)) & 255)


@inlined
def count_bits(word):
    """Count the set bits of a uint16."""
    word = np.uint16(word - ((word >> np.uint16(1)) & np.uint16(0x5555)))
    word = np.uint16((word & np.uint16(0x3333)) + ((word >> np.uint16(2)) & np.uint16(0x3333)))
    word = np.uint16((word + (word >> np.uint16(4))) & np.uint16(0x0F0F))
    return np.uint16((word + (word >> np.uint16(8))) & np.uint16(0x1F))


@kernel
def score_hamming(packed, bits, starts, stops, numbers, best, scores):
    """Compute the MaxSim of documents, with the number of equal bits of two numbers as similarity.

    Parameters
    ----------
    packed : uint8 (bytes,)
        From `pack_numbers`.
    bits : int
    starts, stops : int64 (documents,)
        Half-open range of each document's numbers.
    numbers : uint16 (queries,)
        Numbers of the query vectors.
    best : uint16 (queries,)
        Scratch.
    scores : float32 (documents,)
        Output: the largest number of equal bits for each query vector, summed.
    """
    queries = numbers.shape[0]
    for document in range(starts.shape[0]):
        for i in range(queries):
            best[i] = np.uint16(bits)
        for token in range(starts[document], stops[document]):
            number = np.uint16(read_number(packed, token, bits))
            for i in range(queries):
                best[i] = min(best[i], count_bits(np.uint16(numbers[i] ^ number)))
        differing = np.int64(0)
        for i in range(queries):
            differing += np.int64(best[i])
        scores[document] = np.float32(queries * bits - differing)
