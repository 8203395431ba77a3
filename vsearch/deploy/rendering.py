"""Rendering of nested values as YAML."""

from __future__ import annotations

import json
import re
from typing import Any

WIDTH = 90
"""Values up to this many characters are kept on one line."""

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9:_]*")


def render(template: dict[str, Any]) -> str:
    """Render a template as YAML with JSON values, which cannot be misinterpreted."""
    return "\n".join(_lines(template, "")) + "\n"


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
