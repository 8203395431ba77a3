"""Templates as text, and as what AWS makes of them."""

from __future__ import annotations

import json
import re
from typing import Any

from vsearch.errors import MissingDependencyError

WIDTH = 90
"""Characters of a value that still stands on one line."""

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9:_]*")


def render(template: dict[str, Any]) -> str:
    """The template as YAML whose values are JSON, so that nothing in it can be read as something else."""
    return "\n".join(_lines(template, "")) + "\n"


def transform(template: dict[str, Any], region: str = "us-east-1") -> dict[str, Any]:
    """What AWS makes of the template: plain CloudFormation, by AWS's own translator run here.

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
        for below in value:
            inside = _lines_below(below, indent + "  ")
            lines += [f"{indent}- {inside[0].lstrip()}", *inside[1:]]
        return lines
    for name, below in value.items():
        start = f"{indent}{name if _PLAIN.fullmatch(name) else json.dumps(name)}:"
        inside = _lines_below(below, indent + "  ")
        lines += [start, *inside] if _is_block(below) else [f"{start} {inside[0].lstrip()}"]
    return lines


def _lines_below(value: Any, indent: str) -> list[str]:
    return _lines(value, indent) if _is_block(value) else [indent + json.dumps(value)]


def _is_block(value: Any) -> bool:
    return isinstance(value, (dict, list)) and bool(value) and len(json.dumps(value)) > WIDTH
