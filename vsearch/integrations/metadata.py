"""Metadata of documents: as JSON, from which they are returned unchanged, and as attributes for filters."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from vsearch.errors import InputError, VsearchWarning

TYPES = {bool: "bool", int: "int64", float: "float64", str: "string"}
LIST_TYPES = {int: "list<int64>", float: "list<float64>", str: "list<string>"}
INTEGERS = range(-(2**63), 2**63)


def to_json(metadata: Mapping[str, Any]) -> str:
    """Encode metadata.

    Raises
    ------
    InputError
        It is not a mapping, a key is not a string, or a value is not JSON-serializable or not valid Unicode.
    """
    if not isinstance(metadata, Mapping):
        raise InputError(f"metadata must be a mapping, got {type(metadata).__name__}")
    if not all(isinstance(key, str) for key in metadata):
        raise InputError(f"keys of metadata must be strings, got {list(metadata)!r:.200}")
    try:
        encoded = json.dumps(metadata, ensure_ascii=False)
        encoded.encode()  # fails here if there are lone surrogates
    except (TypeError, ValueError, RecursionError) as error:
        advice = "pass strings, numbers, booleans, None, lists and dicts; times as texts, by isoformat()"
        raise InputError(f"metadata must be JSON-serializable ({error}): {advice}") from None
    return encoded


def type_of(value: Any) -> str | None:
    """Return the attribute type of a value; None for None, dicts, and lists that are empty or mixed."""
    if type(value) is list and value:
        kinds = {type(item) for item in value if item is not None}
        if kinds == {int, float}:
            kinds = {float}
        fits = len(kinds) == 1 and all(item in INTEGERS for item in value if type(item) is int)
        return LIST_TYPES.get(kinds.pop()) if fits else None
    if type(value) is int and value not in INTEGERS:
        return None
    return TYPES.get(type(value))


def new_types(metadatas: Sequence[Mapping[str, Any]], known: Mapping[str, str]) -> dict[str, str]:
    """Return the types of new attributes: that of the first value, or float64 for a mix of int64 and float64.

    Names that begin with an underscore are internal and not attributes.
    """
    types: dict[str, str] = {}
    for metadata in metadatas:
        for key, value in metadata.items():
            if key in known or not key or key.startswith("_"):
                continue
            kind = type_of(value)
            before = types.get(key)
            if kind is not None and (
                before is None or {kind, before} in ({"int64", "float64"}, {"list<int64>", "list<float64>"})
            ):
                types[key] = kind if before is None else kind.replace("int64", "float64")
    return types


def fit(value: Any, kind: str) -> Any:
    """Convert a value to the type of an attribute; None if it does not fit."""
    value_type = type_of(value)
    if value_type == kind or (type(value) is list and not value and kind.startswith("list<")):
        return value
    if value_type == "int64" and kind == "float64" and float(value) == value:
        return float(value)
    if value_type == "list<int64>" and kind == "list<float64>":
        return [None if item is None else float(item) for item in value]
    return None


def to_columns(metadatas: Sequence[Mapping[str, Any]], types: Mapping[str, str]) -> dict[str, list[Any]]:
    """Return the attributes of documents by name; warns about values that do not fit the type of their attribute."""
    columns: dict[str, list[Any]] = {}
    for key, kind in types.items():
        values = [metadata.get(key) for metadata in metadatas]
        columns[key] = fitted = [fit(value, kind) for value in values]
        misfits = [value for value, kept in zip(values, fitted, strict=True) if value is not None and kept is None]
        if misfits:
            warnings.warn(
                f"filters do not see the metadata {key!r} of {len(misfits)} documents: the attribute is {kind}, which "
                f"{misfits[0]!r:.50} is not",
                VsearchWarning,
                stacklevel=5,
            )
    return columns
