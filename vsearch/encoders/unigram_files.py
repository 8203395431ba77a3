"""Read and write Unigram tokenizers: ``tokenizer.json`` of the library `tokenizers`, and the arrays of compressed encoders."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from vsearch.encoders.tokenizer_files import ends_of_texts, known_token
from vsearch.encoders.tokenizing import MOST_SPECIAL, check_tokens
from vsearch.encoders.unigram import META, CharacterMap, Unigram
from vsearch.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

SPACES_COLLAPSED = {"Regex": " {2,}"}
"""A replacement that makes no difference, since words are split at whitespace."""


def read_unigram(path: str, described: Mapping[str, Any], tokens: int) -> Unigram:
    """Read the tokenizer of XLM-R from a tokenizer of the library `tokenizers`, whose model is of the type Unigram.

    Parameters and errors are those of `vsearch.encoders.bpe_files.read_byte_pairs`.
    """
    model = described["model"]
    _check_words(path, described.get("pre_tokenizer"))
    pieces = model.get("vocab")
    if not isinstance(pieces, list) or not 0 < len(pieces) <= tokens:
        raise InputError(f"{path}: the vocabulary must have from 1 to {tokens} tokens")
    if not all(isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str) for pair in pieces):
        raise InputError(f"{path}: the vocabulary must be pairs of a token and a score")
    if any(type(score) is not float and not _is_small_integer(score) for _, score in pieces):
        raise InputError(f"{path}: scores of tokens must be numbers of 64 bits")
    if model.get("byte_fallback"):
        raise InputError(f"{path}: byte_fallback is not supported")
    names = [piece for piece, _ in pieces]

    def row_of(token: Any) -> int:
        return names.index(known_token(path, names, token))

    first, last = ends_of_texts(path, described.get("post_processor"))
    return _check(
        path,
        names,
        np.array([score for _, score in pieces], np.float64),
        {"unknown": model.get("unk_id"), "first": row_of(first), "last": row_of(last)},
        _special(path, described.get("added_tokens") or [], names),
        _character_map(path, described.get("normalizer")),
    )


def unigram_facts(tokenizer: Unigram) -> dict[str, Any]:
    """Return the settings of a tokenizer that a compressed encoder stores in addition to its arrays."""
    ends = {name: getattr(tokenizer, name) for name in ("unknown", "first", "last")}
    return {"kind": "unigram", **ends, "special": sorted(tokenizer.special.values())}


def unigram_arrays(tokenizer: Unigram) -> dict[str, NDArray[Any]]:
    """Return the arrays of a tokenizer besides the text of its vocabulary."""
    characters = b"" if tokenizer.characters is None else tokenizer.characters.data
    return {"scores": tokenizer.scores, "characters": np.frombuffer(characters, np.uint8)}


def unigram_of(
    facts: Mapping[str, Any], names: list[str], scores: NDArray[np.float64], characters: NDArray[np.uint8]
) -> Unigram:
    """Return a tokenizer from the results of `unigram_facts` and `unigram_arrays`, checked.

    Raises
    ------
    InputError
        The parts do not fit together.
    """
    special = facts.get("special")
    if not isinstance(special, list) or not all(type(row) is int and 0 <= row < len(names) for row in special):
        raise InputError("special tokens must be ids of tokens")
    mapped = CharacterMap(characters.tobytes()) if characters.size else None
    return _check("vocabulary", names, scores, facts, {names[row]: row for row in special}, mapped)


def _check(
    path: str,
    names: list[str],
    scores: NDArray[np.float64],
    ends: Mapping[str, Any],
    special: Mapping[str, int],
    characters: CharacterMap | None,
) -> Unigram:
    vocabulary = {name: row for row, name in enumerate(names) if name}
    if len(scores) != len(names) or not np.isfinite(scores).all():
        raise InputError(f"{path}: every token must have a finite score")
    check_tokens(path, vocabulary)
    if len(special) > MOST_SPECIAL:
        raise InputError(f"{path}: there must be at most {MOST_SPECIAL} added tokens, got {len(special)}")
    if len(vocabulary) != sum(map(bool, names)):
        raise InputError(f"{path}: a token occurs twice")
    for name in ("unknown", "first", "last"):
        if type(ends.get(name)) is not int or not 0 <= ends[name] < len(names):
            raise InputError(f"{path}: the {name} token must be a token of the vocabulary, got {ends.get(name)!r:.100}")
    return Unigram(vocabulary, scores, ends["unknown"], ends["first"], ends["last"], special, characters)


def _check_words(path: str, described: Any) -> None:
    """Refuse tokenizers that split texts into words differently from XLM-R."""
    parts: Any = described.get("pretokenizers") if isinstance(described, dict) else None
    kinds = [part.get("type") if isinstance(part, dict) else None for part in parts] if isinstance(parts, list) else []
    if kinds != ["WhitespaceSplit", "Metaspace"]:
        raise InputError(f"{path}: the pre_tokenizer must be a Sequence of WhitespaceSplit and Metaspace")
    meta = parts[1]
    prepended = meta.get("prepend_scheme", "always" if meta.get("add_prefix_space", True) else "never")
    if meta.get("replacement") != META or prepended != "always" or meta.get("split", True) is not True:
        raise InputError(f"{path}: Metaspace must prepend {META!r} to every word, and split at it")


def _character_map(path: str, described: Any) -> CharacterMap | None:
    """Return the normalization; None if there is none."""
    while isinstance(described, dict) and described.get("type") == "Sequence":
        listed = described.get("normalizers")
        parts = [part for part in listed if not _is_collapsing(part)] if isinstance(listed, list) else [listed]
        if len(parts) > 1:
            raise InputError(f"{path}: the normalizer must be Precompiled, got a sequence of {len(parts)}")
        described = parts[0] if parts else None
    if described is None:
        return None
    kind = described.get("type") if isinstance(described, dict) else None
    if kind != "Precompiled":
        raise InputError(f"{path}: the normalizer must be Precompiled, got {kind!r:.100}")
    try:
        return CharacterMap(base64.b64decode(described.get("precompiled_charsmap"), validate=True))
    except (TypeError, ValueError, binascii.Error) as error:
        raise InputError(f"{path}: precompiled_charsmap is not valid: {error}") from None


def _is_small_integer(score: Any) -> bool:
    return type(score) is int and -(2**63) <= score < 2**63


def _is_collapsing(part: Any) -> bool:
    return (
        isinstance(part, dict)
        and part.get("type") == "Replace"
        and part.get("pattern") == SPACES_COLLAPSED
        and part.get("content") == " "
    )


def _special(path: str, added: Any, names: list[str]) -> dict[str, int]:
    """Return the special tokens, which must be in the vocabulary and are matched literally in texts."""
    special: dict[str, int] = {}
    tokens: list[Any] = added if isinstance(added, list) else [None]
    for token in tokens:
        name, row = (token.get("content"), token.get("id")) if isinstance(token, dict) else (None, None)
        if (
            not isinstance(name, str)
            or not name
            or type(row) is not int
            or not 0 <= row < len(names)
            or names[row] != name
        ):
            raise InputError(f"{path}: added tokens must be in the vocabulary, got {name!r:.100}")
        if token.get("normalized") or token.get("single_word") or not token.get("special"):
            raise InputError(f"{path}: added tokens must be special and not normalized, got {name!r:.100}")
        special[name] = row
    return special
