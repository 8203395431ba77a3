"""Check vocabularies of tokenizers."""

from __future__ import annotations

from typing import Any

from vsearch.encoders.tokenizing import check_tokens
from vsearch.encoders.wordpiece import Normalization, WordPiece
from vsearch.errors import InputError

SPECIAL = {"unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "pad": "[PAD]", "mask": "[MASK]"}


def make_tokenizer(path: str, vocabulary: Any, tokens: int, normalization: Normalization, **options: Any) -> WordPiece:
    """Check a vocabulary and return its tokenizer: ids must be below `tokens`, and BERT's special tokens are required."""
    if not isinstance(vocabulary, dict) or not 0 < len(vocabulary) <= tokens:
        raise _wrong_size(path, tokens, len(vocabulary) if isinstance(vocabulary, dict) else 0)
    ids = vocabulary.values()
    if set(map(type, ids)) != {int} or min(ids) < 0 or max(ids) >= tokens:
        raise InputError(f"{path}: ids of tokens must be integers from 0 to {tokens - 1}")
    check_tokens(path, vocabulary)
    return _tokenizer_of(path, vocabulary, normalization, **options)


def number_tokens(path: str, names: list[str], tokens: int, normalization: Normalization, **options: Any) -> WordPiece:
    """Return the tokenizer of tokens in the order of their ids, "" for ids that no text has; checked as by `make_tokenizer`."""
    vocabulary = dict(zip(names, range(len(names)), strict=True))
    vocabulary.pop("", None)
    if not vocabulary or len(names) > tokens:
        raise _wrong_size(path, tokens, len(names) if vocabulary else 0)
    check_tokens(path, names)
    return _tokenizer_of(path, vocabulary, normalization, **options)


def _wrong_size(path: str, tokens: int, count: int) -> InputError:
    return InputError(f"{path}: the vocabulary must have from 1 to {tokens} tokens, got {count}")


def _tokenizer_of(path: str, vocabulary: dict[str, int], normalization: Normalization, **options: Any) -> WordPiece:
    check_tokens(path, [options.get("prefix", "")])
    special = {name: vocabulary[name] for name in SPECIAL.values() if name in vocabulary}
    missing = {SPECIAL[name] for name in ("unk", "cls", "sep")} - special.keys()
    if missing:
        raise InputError(f"{path}: the vocabulary must contain {', '.join(sorted(missing))}")
    return WordPiece(
        vocabulary,
        unknown=special["[UNK]"],
        first=special["[CLS]"],
        last=special["[SEP]"],
        special=special,
        normalization=normalization,
        **options,
    )
