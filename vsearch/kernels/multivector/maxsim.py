"""MaxSim on compressed document vectors: the best score over the document's vectors, summed over the query vectors.

A document vector scores ``table[code, query] + factor * (sum of table entries of the residual's nibbles)``; nothing is
decompressed. The codes of a document are contiguous; its residual codes are transposed, byte j of all vectors together,
so that one register holds the same byte of 32 vectors.
"""

from __future__ import annotations

import numpy as np

from vsearch.kernels.multivector.maxsim_simd import make_sum_block
from vsearch.kernels.multivector.maxsim_simd import strip_maxima as strip_maxima_simd
from vsearch.kernels.multivector.strips import LANES, STRIP, TOGETHER
from vsearch.kernels.scan.dot_products import half_to_float
from vsearch.kernels.toolchain.compiling import inlined, kernel
from vsearch.kernels.toolchain.simd import DIALECT

WIDTH = 32 if DIALECT is None else DIALECT.width
LOWEST = np.float32(-3.0e38)


@inlined
def strip_maxima_plain(codes, start, stop, table, width, strip, best):  # noqa: ARG001  the SIMD body needs the width
    """Find the best table entry of a document's vectors for `STRIP` query vectors: the portable body of `strip_maxima`.

    Parameters
    ----------
    codes : uint8 or uint16 (n,)
    start, stop : int
        Range of the document's vectors.
    table : float32 (centroids, width)
        One column per query vector; `width` is a multiple of `STRIP`.
    strip : int
        First query vector.
    best : float32 (STRIP,)
        Output.
    """
    for i in range(STRIP):
        best[i] = LOWEST
    for token in range(start, stop):
        for i in range(STRIP):
            best[i] = max(best[i], table[codes[token], strip + i])


@inlined
def sum_block_plain(codes, base, stride, pairs, expanded, table, table_bytes, sums):
    """Sum table entries of 32 document vectors for `TOGETHER` query vectors: the portable body of `sum_block`.

    Parameters
    ----------
    codes : uint8 (bytes,)
    base, stride : int
        Byte j of lane v is at ``base + j * stride + v``.
    pairs : int
        Bytes of a vector's residual code, even.
    expanded : uint8
        Tables of all query vectors, from `fill_tables`.
    table, table_bytes : int
        Offset of the first query vector's table, and bytes from one table to the next.
    sums : float32 (TOGETHER, 32)
        Output.
    """
    rows = WIDTH // LANES
    for query in range(TOGETHER):
        at = table + query * table_bytes
        for v in range(LANES):
            sums[query, v] = np.float32(0.0)
        for j in range(pairs):
            low = at + (j // rows * 2) * WIDTH + j % rows * LANES
            high = low + WIDTH
            for v in range(LANES):
                code = codes[base + j * stride + v]
                entry = np.uint32(expanded[low + (code & np.uint8(15))]) + np.uint32(
                    expanded[high + (code >> np.uint8(4))]
                )
                sums[query, v] += np.float32(entry)


if DIALECT is None:
    strip_maxima, sum_block = strip_maxima_plain, sum_block_plain
else:
    strip_maxima, sum_block = strip_maxima_simd, make_sum_block(DIALECT)


@inlined
def bytes_of_tables(pairs):
    """See `table_bytes`."""
    return (pairs * LANES * 2 + WIDTH * 2 - 1) // (WIDTH * 2) * (WIDTH * 2)


@kernel
def score_codes(codes, starts, stops, table, queries, best, scores):
    """Compute the MaxSim of documents from one-byte codes without residuals. O(vectors * queries).

    Parameters
    ----------
    codes : uint8 (n,)
    starts, stops : int64 (documents,)
        Half-open, non-empty range of each document's vectors.
    table : float32 (centroids, width)
        Inner products with the query vectors; `width` is a multiple of 16, columns from `queries` on are ignored.
    queries : int
    best : float32 (16,)
        Scratch.
    scores : float32 (documents,)
        Output.
    """
    width = table.shape[1]
    for document in range(starts.shape[0]):
        total = np.float32(0.0)
        for strip in range(0, queries, STRIP):
            strip_maxima(codes, starts[document], stops[document], table, width, strip, best)
            for i in range(min(STRIP, queries - strip)):
                total += best[i]
        scores[document] = total


#: The same for two-byte codes, uint16 (n,): a compiled library has a function for each.
score_wide_codes = score_codes


@kernel
def score_residuals(
    codes,
    factors,
    residuals,
    pairs,
    starts,
    stops,
    scales,
    table,
    queries,
    expanded,
    scalings,
    block,
    sums,
    best,
    scores,
):
    """Compute the MaxSim of documents from one-byte codes and residual codes. O(vectors * queries * bytes).

    Parameters
    ----------
    codes : uint8 (n,)
    factors : uint16 (n,)
        Bits of float16 numbers, relative to the document's scale.
    residuals : uint8 (n * pairs,)
        Byte j of vector v of a document of m vectors that starts at vector s is at ``s * pairs + j * m + v``.
    pairs : int
        Bytes of a vector's residual code, even.
    starts, stops : int64 (documents,)
    scales : float32 (documents,)
    table : float32 (centroids, width)
    queries : int
    expanded, scalings
        From `fill_tables`, for `queries` rounded up to an even number.
    block, sums, best : uint8 (pairs * 32,), float32 (5, 32), float32 (queries,)
        Scratch.
    scores : float32 (documents,)
        Output.
    """
    per_query = bytes_of_tables(pairs)
    for document in range(starts.shape[0]):
        start = starts[document]
        vectors = stops[document] - start
        scale = scales[document]
        short = vectors < LANES
        if short:  # fewer vectors than lanes: copied to a padded block, so that nothing beyond them is read
            for j in range(pairs):
                for v in range(LANES):
                    block[j * LANES + v] = residuals[start * pairs + j * vectors + v] if v < vectors else np.uint8(0)
        count = min(vectors, LANES)
        # The tables of these query vectors stay in the L1 cache for all blocks of the document.
        for query in range(0, queries, TOGETHER):
            together = min(TOGETHER, queries - query)
            for q in range(together):
                for v in range(LANES):
                    sums[TOGETHER + q, v] = LOWEST
            for first in range(0, vectors, LANES):
                at = start if short else start + min(first, vectors - LANES)  # the last block overlaps the one before
                if short:
                    sum_block(block, 0, LANES, pairs, expanded, query * per_query, per_query, sums)
                else:
                    base = start * pairs + at - start
                    sum_block(residuals, base, vectors, pairs, expanded, query * per_query, per_query, sums)
                for v in range(count):
                    sums[2 * TOGETHER, v] = half_to_float(factors[at + v]) * scale
                for q in range(together):
                    step, bias = scalings[0, query + q], scalings[1, query + q]
                    for v in range(count):  # one maximum per lane: a single one would be a dependency between lanes
                        value = table[codes[at + v], query + q] + sums[2 * TOGETHER, v] * (sums[q, v] * step + bias)
                        sums[TOGETHER + q, v] = max(sums[TOGETHER + q, v], value)
            for q in range(together):
                highest = LOWEST
                for v in range(count):
                    highest = max(highest, sums[TOGETHER + q, v])
                best[query + q] = highest
        total = np.float32(0.0)
        for query in range(queries):
            total += best[query]
        scores[document] = total


#: The same for two-byte codes, uint16 (n,).
score_wide_residuals = score_residuals


@kernel
def multiply(rows, columns, products):
    """Multiply matrices, always summing in the same order. O(n * d * width).

    For few rows, the threads of a linear algebra library do not pay off: when other processes use the cores too,
    waiting for the threads took a hundred times as long as the product.

    Parameters
    ----------
    rows, columns : float32 (n, d), (d, width)
    products : float32 (m, width), m >= n, zero
        Output; rows from n on are not written.
    """
    for row in range(rows.shape[0]):
        for j in range(rows.shape[1]):
            factor = rows[row, j]
            for column in range(columns.shape[1]):
                products[row, column] += factor * columns[j, column]


@kernel
def fill_tables(scaled, plane_dimensions, plane_offsets, pairs, expanded, scalings):
    """Compute the lookup tables of query vectors for the nibbles of residual codes, rounded to 7 bits.

    Parameters
    ----------
    scaled : float32 (queries, D)
        Rotated query vectors times the dimensions' delta * 2^(bits - 2).
    plane_dimensions, plane_offsets : int32 (planes,)
        Number of dimensions and first nibble of each plane.
    pairs : int
        Bytes of a vector's residual code, even.
    expanded : uint8 (queries * table_bytes,), zero
        Output. For every register of codes the tables of its low nibbles, then of its high nibbles, each table repeated
        for the 32 lanes of its row.
    scalings : float32 (2, queries)
        Output, steps and biases: a sum of entries is approximately ``step * (sum of rounded entries) + bias``.
    """
    rows = WIDTH // LANES
    per_query = bytes_of_tables(pairs)
    for query in range(scaled.shape[0]):
        widest, weight = np.float32(0.0), np.float32(1.0)
        for plane in range(plane_dimensions.shape[0]):
            for first in range(0, plane_dimensions[plane], 4):
                reach = np.float32(0.0)
                for i in range(first, min(first + 4, plane_dimensions[plane])):
                    reach += abs(scaled[query, i]) * weight
                widest = max(widest, reach)
            weight *= np.float32(0.5)
        step = np.float32(2.0) * widest / np.float32(127.0)
        inverse = np.float32(1.0) / step if step > np.float32(0.0) else np.float32(0.0)
        total = np.int64(0)
        weight = np.float32(1.0)
        for plane in range(plane_dimensions.shape[0]):
            count, nibble = plane_dimensions[plane], plane_offsets[plane]
            for first in range(0, count, 4):
                a = scaled[query, first] * weight
                b = scaled[query, first + 1] * weight if first + 1 < count else np.float32(0.0)
                c = scaled[query, first + 2] * weight if first + 2 < count else np.float32(0.0)
                d = scaled[query, first + 3] * weight if first + 3 < count else np.float32(0.0)
                reach = abs(a) + abs(b) + abs(c) + abs(d)
                pair = nibble // 2
                at = query * per_query + (pair // rows * 2 + nibble % 2) * WIDTH + pair % rows * LANES
                for e in range(16):
                    value = (
                        reach
                        + a * np.float32(2 * (e & 1) - 1)
                        + b * np.float32((e & 2) - 1)
                        + c * np.float32((e >> 1 & 2) - 1)
                        + d * np.float32((e >> 2 & 2) - 1)
                    )
                    entry = np.uint8(min(np.float32(127.0), value * inverse + np.float32(0.5)))
                    total += np.int64(entry)
                    expanded[at + e] = entry
                    expanded[at + 16 + e] = entry
                nibble += 1
            weight *= np.float32(0.5)
        # The exact entries of a table sum to zero, so this bias also removes the mean rounding error.
        scalings[0, query], scalings[1, query] = step, -step * np.float32(total) / np.float32(16.0)


@kernel
def table_bytes(pairs):
    """Return the bytes of one query vector's tables, as written by `fill_tables`."""
    return bytes_of_tables(pairs)
