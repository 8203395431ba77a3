"""Read and write byte-level BPE tokenizers: ``tokenizer.json`` of the library `tokenizers`, and the arrays of compressed encoders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vsearch.encoders.architecture import MOST_TOKENS
from vsearch.encoders.bpe import ALWAYS_REQUIRED, BytePairs
from vsearch.encoders.tokenizer_files import ends_of_texts, known_token
from vsearch.encoders.tokenizing import LONGEST_MERGED, MOST_SPECIAL, check_tokens
from vsearch.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

FLAGS = ("composed", "spaced", "whole")
ADDED = ("special", "added", "stripped")


def read_byte_pairs(path: str, described: Mapping[str, Any], tokens: int) -> BytePairs:
    """Read the tokenizer of ModernBERT or RoBERTa from a tokenizer of the library `tokenizers`.

    Parameters
    ----------
    path : str
        Name of the file in error messages.
    described : mapping
        Its contents; the type of the model is BPE.
    tokens : int
        Number of token embeddings.

    Raises
    ------
    InputError
        The description is inconsistent, or uses something that is not supported.
    """
    model = described["model"]
    for name in ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback"):
        if model.get(name):
            raise InputError(f"{path}: {name} is not supported")
    vocabulary = model.get("vocab")
    if not isinstance(vocabulary, dict) or not all(type(row) is int for row in vocabulary.values()):
        raise InputError(f"{path}: the vocabulary must be ids of tokens")
    parts = _added(path, described.get("added_tokens") or [])
    together = vocabulary | parts["special"] | parts["added"]
    first, last = (known_token(path, together, end) for end in ends_of_texts(path, described.get("post_processor")))
    flags = {
        "composed": _is_composing(path, described.get("normalizer")),
        "spaced": _adds_space(path, described.get("pre_tokenizer")),
        "whole": bool(model.get("ignore_merges")),
    }
    merges = _merges(path, model.get("merges"), vocabulary)
    ends = {"first": together[first], "last": together[last]}
    return check_byte_pairs(path, together, merges, tokens, ends | flags | parts)


def byte_pair_facts(tokenizer: BytePairs) -> dict[str, Any]:
    """Return the settings of a tokenizer that a compressed encoder stores in addition to its arrays."""
    numbers = tokenizer.vocabulary
    added = {name: sorted(numbers[token] for token in getattr(tokenizer, name)) for name in ADDED}
    return {"kind": "bpe", **{name: getattr(tokenizer, name) for name in ("first", "last", *FLAGS)}, **added}


def byte_pairs_of(facts: Mapping[str, Any], names: Sequence[str], merges: NDArray[np.uint32], tokens: int) -> BytePairs:
    """Return a tokenizer from the result of `byte_pair_facts`, its tokens by id, and its merges, checked.

    Raises
    ------
    InputError
        The parts do not fit together.
    """
    vocabulary = {name: row for row, name in enumerate(names) if name}
    parts: dict[str, dict[str, int]] = {}
    for name in ADDED:
        rows = facts.get(name)
        if not isinstance(rows, list) or not all(type(row) is int and 0 <= row < len(names) for row in rows):
            raise InputError(f"{name} tokens must be ids of tokens")
        parts[name] = {names[row]: row for row in rows}
    if len(vocabulary) != sum(map(bool, names)):
        raise InputError("a token occurs twice")
    return check_byte_pairs("vocabulary", vocabulary, merges, tokens, dict(facts) | parts)


def check_byte_pairs(
    path: str, vocabulary: Mapping[str, int], merges: NDArray[np.uint32], tokens: int, facts: Mapping[str, Any]
) -> BytePairs:
    """Return a tokenizer whose parts fit: ids are below `tokens`, every byte is a token, and so is what merges make.

    Raises
    ------
    InputError
        The parts do not fit together.
    """
    ids = set(vocabulary.values())
    if not ids or min(ids) < 0 or max(ids) >= tokens or len(ids) != len(vocabulary):
        raise InputError(f"{path}: ids of tokens must be different integers from 0 to {tokens - 1}")
    missing = [char for char in ALWAYS_REQUIRED if char not in vocabulary]
    if missing:
        raise InputError(f"{path}: the vocabulary must have a token for each byte, {missing[0]!r} is missing")
    for name in ("first", "last"):
        if type(facts.get(name)) is not int or facts[name] not in ids:
            raise InputError(
                f"{path}: the {name} token must be a token of the vocabulary, got {facts.get(name)!r:.100}"
            )
    if not all(isinstance(facts.get(name), bool) for name in FLAGS):
        raise InputError(f"{path}: {', '.join(FLAGS)} must be true or false")
    if any(not token or "\n" in token for name in ADDED for token in facts[name]):
        raise InputError(f"{path}: added tokens must not be empty or contain line breaks")
    check_tokens(path, vocabulary, LONGEST_MERGED)
    count = len(facts["special"]) + len(facts["added"])
    if count > MOST_SPECIAL:
        raise InputError(f"{path}: there must be at most {MOST_SPECIAL} added tokens, got {count}")
    names = {row: name for name, row in vocabulary.items()}
    for left, right in merges.tolist():
        if left not in names or right not in names or names[left] + names[right] not in vocabulary:
            raise InputError(f"{path}: the inputs and results of merges must be tokens")
    return BytePairs(
        vocabulary,
        merges,
        facts["first"],
        facts["last"],
        special=facts["special"],
        added=facts["added"],
        stripped=frozenset(facts["stripped"]),
        **{name: facts[name] for name in FLAGS},
    )


def _added(path: str, described: Any) -> dict[str, dict[str, int]]:
    """Return the added tokens: those recognized before and after normalization, and which of them absorb whitespace."""
    parts: dict[str, dict[str, int]] = {name: {} for name in ADDED}
    for token in described if isinstance(described, list) else [None]:
        facts = token if isinstance(token, dict) else {}
        name, row = facts.get("content"), facts.get("id")
        if not isinstance(name, str) or type(row) is not int:
            raise InputError(f"{path}: added tokens must have a string content and an integer id, got {name!r:.100}")
        if facts.get("single_word") or facts.get("rstrip"):
            raise InputError(f"{path}: added tokens with single_word or rstrip are not supported, got {name!r:.100}")
        parts["added" if facts.get("normalized") else "special"][name] = row
        if facts.get("lstrip"):
            parts["stripped"][name] = row
    return parts


def _merges(path: str, described: Any, vocabulary: Mapping[str, int]) -> NDArray[np.uint32]:
    listed = described if isinstance(described, list) else [] if described is None else [described]
    pairs = [pair.split(" ") if isinstance(pair, str) else pair for pair in listed]
    if not all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(part, str) for part in pair) for pair in pairs
    ):
        raise InputError(f"{path}: merges must be a list of pairs of tokens")
    rows = [[vocabulary.get(part, -1) for part in pair] for pair in pairs]
    if any(not 0 <= row < MOST_TOKENS for pair in rows for row in pair):
        raise InputError(
            f"{path}: merges must be pairs of tokens of the vocabulary, whose ids are from 0 to {MOST_TOKENS - 1}"
        )
    return np.array(rows, np.uint32).reshape(-1, 2)


def _is_composing(path: str, described: Any) -> bool:
    """Whether texts are normalized to NFC; other normalizers are refused."""
    waiting, composing = [] if described is None else [described], False
    while waiting:  # sequences within sequences may be as deep as JSON
        part = waiting.pop()
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "Sequence" and isinstance(part.get("normalizers"), list):
            waiting += part["normalizers"]
        elif kind == "NFC":
            composing = True
        else:
            raise InputError(f"{path}: the normalizer must be NFC or none, got {kind!r:.100}")
    return composing


def _adds_space(path: str, described: Any) -> bool:
    """Whether a space is put before texts; tokenizers that split texts into words differently from GPT-2 are refused."""
    kind = described.get("type") if isinstance(described, dict) else None
    if kind != "ByteLevel" or described.get("use_regex", True) is not True:
        raise InputError(f"{path}: the pre_tokenizer must be ByteLevel with use_regex, got {kind!r:.100}")
    return described.get("add_prefix_space", True) is not False
