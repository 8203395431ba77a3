"""Names of variables in the library say what they hold."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

LIBRARY = Path(__file__).parent.parent / "vsearch"

EMPTY = {
    "each",
    "found",
    "given",
    "held",
    "many",
    "mine",
    "own",
    "said",
    "taken",
    "theirs",
    "there",
    "told",
    "wanted",
    "whole",
}
"""Names that describe no value: a reader has to look up where it came from."""

ALLOWED = {
    ("fanout/wire/messages.py", "found"),  # the name of the field in messages
    ("encoders/bpe.py", "whole"),  # the name of the setting in files
}


def bound(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """All names that a module binds to values, with their lines: variables, fields, parameters and attributes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.id if isinstance(node, ast.Name) else node.attr, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            yield node.name, node.lineno


def empty(source: str, path: str) -> list[str]:
    return [
        f"{path}:{line}: {name}"
        for name, line in bound(ast.parse(source))
        if name.strip("_") in EMPTY and (path, name) not in ALLOWED
    ]


@pytest.mark.parametrize(
    "source",
    [
        "found = 1", "for each in x: pass", "def f(given): pass", "[own for own in x]", "self._held = 1", "found: int",
        "(there, x) = y", "if (told := 1): pass", "lambda wanted: 1", "with x as held: pass", "def f(*, many=1): pass",
    ],
)  # fmt: skip
def test_empty_names_are_noticed(source):
    assert len(empty(source, "x.py")) == 1


def test_names_say_what_they_hold():
    offenders = [
        line
        for path in sorted(LIBRARY.rglob("*.py"))
        for line in empty(path.read_text("utf-8"), path.relative_to(LIBRARY).as_posix())
    ]
    assert not offenders, "names that say nothing:\n" + "\n".join(offenders)
