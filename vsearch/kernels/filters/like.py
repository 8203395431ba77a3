"""Binary search and LIKE on the UTF-8 strings of a dictionary.

A dictionary consists of ``data`` (uint8) and ``offsets`` (int64, one more than strings): string i is
``data[offsets[i]:offsets[i + 1]]``. A pattern is int16 tokens: a byte to match, `ANY_CHARACTER` or `ANY_TEXT`.
"""

from __future__ import annotations

import numpy as np

from vsearch.kernels.toolchain.compiling import inlined, kernel

ANY_CHARACTER = 256
ANY_TEXT = 257


@kernel
def like(offsets, data, pattern, matches):
    """Match every string of a dictionary against a LIKE pattern.

    Parameters
    ----------
    offsets : int64 (strings + 1,)
        Ascending, within ``data``.
    data : uint8 (bytes,)
        Valid UTF-8.
    pattern : int16 (tokens,)
    matches : bool (strings,)
        Output.

    Notes
    -----
    Backtracking only advances the last ``%``, by one code point; what earlier ones matched cannot change the result. So
    a string of n bytes costs at most n times the pattern's length.
    """
    for i in range(matches.shape[0]):
        matches[i] = _like_one(data, offsets[i], offsets[i + 1], pattern)


@kernel
def search(offsets, data, needle_offsets, needles, positions):
    """Find the first string >= each needle, in byte order.

    Parameters
    ----------
    offsets, data
        A sorted dictionary.
    needle_offsets, needles
        The strings to search for, in the same form.
    positions : int64 (needles,)
        Output: 0 to the number of strings.
    """
    for i in range(positions.shape[0]):
        low, high = 0, offsets.shape[0] - 1
        while low < high:
            middle = (low + high) >> 1
            if _less(data, offsets[middle], offsets[middle + 1], needles, needle_offsets[i], needle_offsets[i + 1]):
                low = middle + 1
            else:
                high = middle
        positions[i] = low


@inlined
def _like_one(data, start, stop, pattern):
    tokens = pattern.shape[0]
    at, token = start, 0
    retry_at, retry_token = np.int64(-1), 0
    while True:
        if token < tokens and pattern[token] == ANY_TEXT:
            token += 1
            if token == tokens:
                return True
            retry_at, retry_token = at, token
            continue
        if at >= stop:
            # Backtracking cannot help: it would leave even less text.
            return token == tokens
        if token < tokens and pattern[token] == ANY_CHARACTER:
            at = _next_character(data, at, stop)
            token += 1
        elif token < tokens and pattern[token] == data[at]:
            at += 1
            token += 1
        elif retry_at >= 0:
            retry_at = _next_character(data, retry_at, stop)
            at, token = retry_at, retry_token
        else:
            return False


@inlined
def _next_character(data, at, stop):
    at += 1
    while at < stop and (data[at] & 0xC0) == 0x80:
        at += 1
    return at


@inlined
def _less(left, left_start, left_stop, right, right_start, right_stop):
    length = min(left_stop - left_start, right_stop - right_start)
    for i in range(length):
        a, b = left[left_start + i], right[right_start + i]
        if a != b:
            return a < b
    return left_stop - left_start < right_stop - right_start
