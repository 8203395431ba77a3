"""Rendering of templates as text, and their transformation to plain CloudFormation."""

from __future__ import annotations

import json
import re
from typing import Any

from vsearch.errors import MissingDependencyError

WIDTH = 90
"""Values up to this many characters are kept on one line."""

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9:_]*")


def render(template: dict[str, Any]) -> str:
    """Render a template as YAML with JSON values, which cannot be misinterpreted."""
    return "\n".join(_lines(template, "")) + "\n"


def transform(template: dict[str, Any], region: str = "us-east-1") -> dict[str, Any]:
    """Transform a template to plain CloudFormation, with AWS's own SAM translator.

    Raises
    ------
    MissingDependencyError
        aws-sam-translator is not installed.
    """
    try:
        import boto3
        from samtranslator.parser.parser import Parser  # type: ignore[import-untyped]
        from samtranslator.translator.translator import Translator  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingDependencyError("this needs aws-sam-translator: pip install aws-sam-translator") from error
    session = boto3.Session(region_name=region)
    copied = json.loads(json.dumps(template))
    translated: dict[str, Any] = Translator({}, Parser(), None, session).translate(copied, {})
    return translated


def _lines(value: Any, indent: str) -> list[str]:
    lines: list[str] = []
    if isinstance(value, list):
        for nested in value:
            nested_lines = _lines_below(nested, indent + "  ")
            lines += [f"{indent}- {nested_lines[0].lstrip()}", *nested_lines[1:]]
        return lines
    for name, nested in value.items():
        start = f"{indent}{name if _PLAIN.fullmatch(name) else json.dumps(name)}:"
        nested_lines = _lines_below(nested, indent + "  ")
        lines += [start, *nested_lines] if _is_block(nested) else [f"{start} {nested_lines[0].lstrip()}"]
    return lines


def _lines_below(value: Any, indent: str) -> list[str]:
    return _lines(value, indent) if _is_block(value) else [indent + json.dumps(value)]


def _is_block(value: Any) -> bool:
    return isinstance(value, (dict, list)) and bool(value) and len(json.dumps(value)) > WIDTH
