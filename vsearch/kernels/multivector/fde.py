"""Fixed-dimensional encodings: the vectors of documents and queries, aggregated per bucket."""

from __future__ import annotations

import numpy as np

from vsearch.kernels.toolchain.compiling import kernel, summing


@kernel
def fill_buckets(vectors, offsets, distances, nearest, counts, entries):
    """Compute the mean vector of every document in every bucket, or its nearest vector if it has none in the bucket.

    Parameters
    ----------
    vectors : float32 (n, d)
    offsets : int64 (documents + 1,)
        Ascending, from 0 to n.
    distances : float32 (n, buckets)
        Distances to the buckets' centroids, or any values in the same order.
    nearest : int64 (n,)
        Bucket of each vector.
    counts : int64 (buckets,)
        Scratch.
    entries : float32 (documents, 1 + buckets, d)
        Output; entry 0 is the mean of the whole document.
    """
    buckets, d = counts.shape[0], vectors.shape[1]
    for document in range(entries.shape[0]):
        start, stop = offsets[document], offsets[document + 1]
        for bucket in range(buckets + 1):
            for j in range(d):
                entries[document, bucket, j] = np.float32(0.0)
        for bucket in range(buckets):
            counts[bucket] = 0
        for token in range(start, stop):
            bucket = nearest[token]
            counts[bucket] += 1
            for j in range(d):
                entries[document, 0, j] += vectors[token, j]
                entries[document, 1 + bucket, j] += vectors[token, j]
        share = np.float32(1.0) / np.float32(stop - start)
        for j in range(d):
            entries[document, 0, j] *= share
        for bucket in range(buckets):
            if counts[bucket] > 0:
                share = np.float32(1.0) / np.float32(counts[bucket])
                for j in range(d):
                    entries[document, 1 + bucket, j] *= share
                continue
            best = start
            for token in range(start + 1, stop):
                if distances[token, bucket] < distances[best, bucket]:
                    best = token
            for j in range(d):
                entries[document, 1 + bucket, j] = vectors[best, j]


@summing
def encode_query(query, centroids, half_squares, bases, starts, sums, encoded):
    """Encode a query: the sums of its vectors overall and in every bucket, projected.

    Parameters
    ----------
    query : float32 (n, d)
    centroids, half_squares : float32 (buckets, d), (buckets,)
        The buckets' centroids, and half their squared norms.
    bases : float32 (D, d)
        Rows of the projection of the whole query, then of each bucket.
    starts : int64 (buckets + 2,)
        First row of each projection; the last entry is D.
    sums : float32 (1 + buckets, d)
        Scratch.
    encoded : float32 (D,)
        Output.
    """
    n, d = query.shape
    buckets = centroids.shape[0]
    for bucket in range(buckets + 1):
        for j in range(d):
            sums[bucket, j] = np.float32(0.0)
    for row in range(encoded.shape[0]):
        encoded[row] = np.float32(0.0)
    for token in range(n):
        best, highest = 0, np.float32(0.0)
        for bucket in range(buckets):
            score = np.float32(0.0)
            for j in range(d):
                score += query[token, j] * centroids[bucket, j]
            score -= half_squares[bucket]
            if bucket == 0 or score > highest:
                best, highest = bucket, score
        for j in range(d):
            sums[0, j] += query[token, j]
        if buckets > 0:
            for j in range(d):
                sums[1 + best, j] += query[token, j]
    for bucket in range(buckets + 1):
        used = False
        for j in range(d):
            if sums[bucket, j] != np.float32(0.0):
                used = True
        if used:
            for row in range(starts[bucket], starts[bucket + 1]):
                score = np.float32(0.0)
                for j in range(d):
                    score += bases[row, j] * sums[bucket, j]
                encoded[row] = score
