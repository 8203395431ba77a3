"""Compile LIKE patterns to tokens."""

from __future__ import annotations

from typing import Literal as OneOf

from vsearch.errors import PredicateError

# Duplicates the values in vsearch.kernels.filters.like, so that binding a predicate does not load the compiler.
ANY_CHARACTER = 256
ANY_TEXT = 257


def compile_pattern(pattern: str, escape: str) -> tuple[int, ...]:
    """Compile a pattern to bytes to match, `ANY_CHARACTER` for ``_`` and `ANY_TEXT` for ``%``.

    Raises
    ------
    PredicateError
        The pattern ends with the escape character.
    """
    tokens: list[int] = []
    characters = iter(pattern)
    for character in characters:
        if escape and character == escape:
            escaped = next(characters, None)
            if escaped is None:
                raise PredicateError(f"the LIKE pattern {pattern!r} must not end with its escape character")
            tokens.extend(escaped.encode())
        elif character == "%":
            if not tokens or tokens[-1] != ANY_TEXT:
                tokens.append(ANY_TEXT)
        elif character == "_":
            tokens.append(ANY_CHARACTER)
        else:
            tokens.extend(character.encode())
    return tuple(tokens)


def literal_prefix(tokens: tuple[int, ...]) -> tuple[bytes, OneOf["nothing", "any text", "other"]]:
    """Return the literal prefix of a compiled pattern, and what follows it."""
    length = next((i for i, token in enumerate(tokens) if token >= ANY_CHARACTER), len(tokens))
    rest = tokens[length:]
    return bytes(tokens[:length]), "nothing" if not rest else "any text" if rest == (ANY_TEXT,) else "other"
