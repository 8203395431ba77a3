"""Parts of ``tokenizer.json``, the format of the library `tokenizers`, that several kinds of tokenizers share."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from vsearch.errors import InputError


def ends_of_texts(path: str, described: Any) -> tuple[Any, Any]:
    """Return the names of the first and the last token of every text from the description of the post-processor.

    Raises
    ------
    InputError
        It does something else.
    """
    kind = described.get("type") if isinstance(described, dict) else None
    if kind == "RobertaProcessing":
        return _first_of(described.get("cls")), _first_of(described.get("sep"))
    single = described.get("single") if kind == "TemplateProcessing" else None
    if isinstance(single, list) and len(single) == 3 and all(isinstance(part, dict) for part in single):
        before, text, after = single
        ends = [part.get("SpecialToken") for part in (before, after)]
        if "Sequence" in text and all(isinstance(end, dict) for end in ends):
            return ends[0].get("id"), ends[1].get("id")
    raise InputError(f"{path}: the post_processor must put one special token before and one after a text")


def known_token(path: str, vocabulary: Collection[str], token: Any) -> str:
    """Return a token that must be in the vocabulary.

    Raises
    ------
    InputError
        The vocabulary lacks it.
    """
    if not isinstance(token, str) or token not in vocabulary:
        raise InputError(f"{path}: the vocabulary must contain {token!r:.100}")
    return token


def _first_of(value: Any) -> Any:
    return value[0] if isinstance(value, list) and value else None
