"""A module imports only from floors below its own."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

FLOORS = {
    "errors": 0,
    "cores": 0,
    "forking": 0,
    "kernels": 1,
    "storage": 1,
    "datasets": 1,
    "predicates": 2,
    "quantizers": 2,
    "search": 3,
    "building": 3,
    "fanout": 4,
    "hits": 3.5,  # what fanout hands back, too
    "worker": 4,
    "jpq": 4,
    "arguments": 1,
    "explanation": 3.5,
    "index": 5,
    "evaluation": 5.5,
    "facade": 5.5,
    "faas": 5,
    "deploy": 5,
    "cli": 6,
}
# The environment (os) may name the instruction set; nothing else of the machine is a kernel's business.
KERNEL_LIBRARIES = {"llvmlite", "numba", "numpy"} | sys.stdlib_module_names
BUILD_TOOLS = {"hatchling"}  # of packaging.py, which a build of the wheel runs

MODULES = sorted((ROOT / "vsearch").rglob("*.py"))


def imports(path: Path) -> list[str]:
    """Dotted names that a module imports, also inside functions; ``from a import b`` counts as a.b."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) + "." if node.level else ""
            stem = (base + (node.module or "")).strip(".")
            found += [f"{stem}.{alias.name}" for alias in node.names]
    return found


def part(dotted: str) -> str | None:
    """Part of vsearch that a dotted name lies in, if any; the root package itself holds only the version."""
    pieces = dotted.split(".")
    if pieces[0] != "vsearch" or pieces[1:] == ["__version__"]:
        return None
    return pieces[1] if len(pieces) > 1 else "vsearch"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_downward(path: Path) -> None:
    own = path.relative_to(ROOT / "vsearch").with_suffix("").parts[0]
    if own == "__init__":
        return  # the root package re-exports from everywhere, when asked
    floor = FLOORS[own]
    for name in imports(path):
        other = part(name)
        if other is None or other == own:
            continue
        if other == "vsearch" or other not in FLOORS:  # the root package, or a public name out of it
            assert own == "cli", f"{name}: import from the module that defines it, not from the root package"
            continue
        assert FLOORS[other] < floor, f"{own} (floor {floor}) imports {name} (floor {FLOORS[other]})"


def test_handlers_stand_on_the_facade_floor() -> None:
    handlers = {path for path in (ROOT / "functions").rglob("*.py") if path.name != "build.py"}  # which runs at home
    for path in handlers:
        parts = {part(name) for name in imports(path)} - {None}
        assert all(FLOORS[name] < FLOORS["deploy"] for name in parts), (path, parts)


def test_kernels_know_only_arrays() -> None:
    for path in (ROOT / "vsearch" / "kernels").rglob("*.py"):
        outside = {name.split(".")[0] for name in imports(path)} - {"vsearch"}
        allowed = KERNEL_LIBRARIES | (BUILD_TOOLS if path.name == "packaging.py" else set())
        assert outside <= allowed, (path, outside - allowed)


def test_no_pickle_and_no_eval() -> None:
    forbidden = {"pickle", "cloudpickle", "dill", "shelve", "marshal"}
    for path in MODULES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert not {name.split(".")[0] for name in imports(path)} & forbidden, path
        calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
        assert not {call.id for call in calls if isinstance(call, ast.Name)} & {"eval", "exec"}, path
