"""Docstrings say when an error is raised, not only which."""

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

LIBRARY = Path(__file__).parent.parent / "vsearch"


def undescribed(docstring: str) -> Iterator[str]:
    """Entries of the sections Raises and Warns without an indented description."""
    lines = [*inspect.cleandoc(docstring).split("\n"), ""]
    starts = [i for i, line in enumerate(lines) if line in ("Raises", "Warns") and set(lines[i + 1]) == {"-"}]
    for start in starts:
        for line, following in zip(lines[start + 2 :], lines[start + 3 :], strict=False):
            if not line:
                break
            if not line.startswith(" ") and not following.startswith(" "):
                yield line


def all_undescribed(source: str) -> list[str]:
    nodes = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = [ast.get_docstring(node) for node in ast.walk(ast.parse(source)) if isinstance(node, nodes)]
    return [entry for docstring in docstrings if docstring for entry in undescribed(docstring)]


@pytest.mark.parametrize(
    ("section", "entries"),
    [
        ("A\n    B.\nC", ["C"]),
        ("A\nB\n    C.", ["A"]),
        ("A, B", ["A, B"]),
        ("A\n    B.\n\nNotes", []),
        ("A\n    B.\nC\n    D.", []),
    ],
)
def test_entries_without_a_description_are_noticed(section, entries):
    lines = f"Do.\n\nRaises\n------\n{section}\n".replace("\n", "\n    ")
    assert all_undescribed(f'def f():\n    """{lines}"""\n') == entries


def test_errors_are_described():
    offenders = [
        f"{path.relative_to(LIBRARY.parent).as_posix()}: {entry}"
        for path in sorted(LIBRARY.rglob("*.py"))
        for entry in all_undescribed(path.read_text("utf-8"))
    ]
    assert not offenders, "docstrings that do not say when an error is raised:\n" + "\n".join(offenders)
