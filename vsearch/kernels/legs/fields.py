"""The argument block of the fusion of two rankings: int64 fields that Python packs and kernels read by name."""

from __future__ import annotations

from enum import IntEnum

MOST = 512
"""Rows of both rankings together at most: places are found by comparing all pairs, which pays off for few rows only."""

PARTS = 2
"""Vectors, and the leg."""

RRF, WEIGHTED = 0, 1


class FusionField(IntEnum):
    """The two rankings of a query, their candidates, and the best of these; see `fusing`."""

    NEAR = 0  # number of rows found by vectors
    RANKED = 1  # number of rows found by the leg
    FOUND_ROWS = 2  # int64 (MOST,): the rows found by vectors, then those found by the leg
    FOUND_SCORES = 3  # float32 (MOST,)
    ORDER = 4  # int64 (MOST,), scratch
    COUNT = 5  # number of candidates
    ROWS = 6  # int64 (MOST,): candidates, ascending
    SCORES = 7  # float64 (PARTS, MOST): their scores, 0 for rows that a part did not find
    MISSING_PLACES = 8  # int64 (PARTS, MOST): places of candidates that a part did not find
    MISSING_ROWS = 9  # int64 (PARTS, MOST): their rows
    FAR = 10  # number of candidates not found by vectors; before the fusion, of those that got their scores since
    UNRANKED = 11  # the same for the leg
    KIND = 12  # RRF or WEIGHTED
    SQUARED = 13  # 1: scores of vectors are squared distances
    NUMBERS = 14  # float64 (3,): weights of vectors and of the leg, and the constant of reciprocal ranks
    RANKS = 15  # int64 (PARTS, MOST): from 1, equal for equal scores; 0 for rows that the leg does not match
    KEYS = 16  # float64 (MOST,), scratch
    FUSED = 17  # float64 (MOST,)
    K = 18  # up to MOST
    SIZE = 19  # number of the best candidates, up to K
    BEST = 20  # int64 (MOST,): places of the best candidates, best first
    BEST_SCORES = 21  # float32 (3, MOST): their fused scores and those of both parts, then NaN up to K
    BEST_ROWS = 22  # int64 (3, MOST): their rows, then -1; and their ranks in both parts, then 0
    PASSED = 23  # int64 (MOST,), scratch
    MISSING_SCORES = 24  # float32 (PARTS, MOST): scores of the candidates in MISSING_PLACES, found since
