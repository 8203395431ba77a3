"""Docstrings describe parameters that exist, and say when an error is raised, not only which."""

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

LIBRARY = Path(__file__).parent.parent / "vsearch"


Described = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def entries_of(docstring: str, *sections: str) -> Iterator[tuple[str, str]]:
    """Entries of sections, each with the line after it."""
    lines = [*inspect.cleandoc(docstring).split("\n"), ""]
    starts = [i for i, line in enumerate(lines) if line in sections and set(lines[i + 1]) == {"-"}]
    for start in starts:
        for line, following in zip(lines[start + 2 :], lines[start + 3 :], strict=False):
            if not line:
                break
            if not line.startswith(" "):
                yield line, following


def parameters_of(node: Described) -> set[str]:
    """Names that a class or function accepts; "" if it accepts any."""
    names: set[str] = set()
    functions = [node]
    if isinstance(node, ast.ClassDef):
        names = {part.target.id for part in node.body if isinstance(part, ast.AnnAssign)}
        functions = [part for part in node.body if isinstance(part, ast.FunctionDef) and part.name == "__init__"]
    for function in functions:
        arguments = function.args
        names |= {argument.arg for argument in arguments.posonlyargs + arguments.args + arguments.kwonlyargs}
        names |= {"", f"**{arguments.kwarg.arg}"} if arguments.kwarg else set()
        names |= {f"*{arguments.vararg.arg}"} if arguments.vararg else set()
    return names


def described_nodes(source: str) -> Iterator[tuple[Described, str]]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, Described) and (docstring := ast.get_docstring(node)):
            yield node, docstring


def undescribed(source: str) -> list[str]:
    """Errors and warnings without an indented description."""
    return [
        entry
        for _, docstring in described_nodes(source)
        for entry, following in entries_of(docstring, "Raises", "Warns")
        if not following.startswith(" ")
    ]


def unknown(source: str) -> list[str]:
    """Described parameters that do not exist."""
    return [
        f"{node.name}: {name}"
        for node, docstring in described_nodes(source)
        for entry, _ in entries_of(docstring, "Parameters")
        for name in entry.partition(" : ")[0].split(", ")
        if not {name, ""} & parameters_of(node)
    ]


def offenders(check) -> list[str]:
    return [
        f"{path.relative_to(LIBRARY.parent).as_posix()}: {fault}"
        for path in sorted(LIBRARY.rglob("*.py"))
        for fault in check(path.read_text("utf-8"))
    ]


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
    assert undescribed(f'def f():\n    """{lines}"""\n') == entries


@pytest.mark.parametrize(
    ("source", "entry", "count"),
    [
        ("def f(a, *, b=1):", "a, b : int", 0),
        ("def f(a, *more):", "*more", 0),
        ("def f(a, **more):", "other", 0),
        ("def f(a):", "b : int", 1),
        ("def f(a):", "a, b", 1),
        ("class A:", "a : int", 0),
        ("class A:", "most : int", 1),
    ],
)
def test_parameters_that_do_not_exist_are_noticed(source, entry, count):
    fields = "\n    a: int" if source.startswith("class") else ""
    lines = f"Do.\n\nParameters\n----------\n{entry}\n    Number.\n".replace("\n", "\n    ")
    assert len(unknown(f'{source}\n    """{lines}"""{fields}\n')) == count


def test_errors_are_described():
    assert not offenders(undescribed)


def test_described_parameters_exist():
    assert not offenders(unknown)
