"""A module imports only from layers below its own, or from its own folder; there are no circular imports.

Modules and functions keep to a size.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]

#: From the ground up. Folders in one line know nothing of each other.
FLOORS = """
_lazy _version errors
_deprecation bits cores forking metrics
cache checks threads training
datasets kernels.toolchain
kernels.scan
kernels.query
kernels.filters kernels.multivector kernels.encoders kernels.legs kernels.text
storage.stores
storage.files
storage.snapshots
predicates
quantizers encoders
search.state
search.engine
search
building.inputs
building
legs
multivector text
sparse
jpq
live
cluster
fanout.calls
fanout.wire
fanout.roles
fanout.platforms
api
deploy integrations serving testing
deploy.aws faas
vsearch
cli
"""
FLOOR_OF = {name: floor for floor, line in enumerate(FLOORS.split("\n")) for name in line.split()}
#: Packages that hand out names of the modules in their folders.
FACES = {"kernels": "kernels.multivector", "storage": "storage.snapshots", "fanout": "fanout.platforms"}

# The environment (os) may name the instruction set; nothing else of the machine is a kernel's business.
KERNEL_LIBRARIES = {"llvmlite", "numba", "numpy"} | sys.stdlib_module_names
BUILD_TOOLS = {"hatchling"}  # of packaging.py, which a build of the wheel runs

MODULES = sorted((ROOT / "vsearch").rglob("*.py"))


def dotted(path: Path) -> str:
    """The name of a module."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {dotted(path): path for path in MODULES}


@cache
def tree(path: Path) -> ast.Module:
    """The source of a module."""
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imports(path: Path) -> list[str]:
    """Dotted names that a module imports, also inside functions and for type checkers; ``from a import b`` counts as a.b."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    found = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) + "." if node.level else ""
            stem = (base + (node.module or "")).strip(".")
            found += [f"{stem}.{alias.name}" for alias in node.names]
    return found


@cache
def ours(path: Path) -> set[str]:
    """Modules of vsearch that a module imports."""
    found = set()
    for name in imports(path):
        module = name if name in NAMES else name.rpartition(".")[0]
        if module in NAMES and module != dotted(path):
            found.add(module)
    return found


def folder(module: str) -> str:
    """The entry of `FLOORS` that a module belongs to."""
    name = module.removeprefix("vsearch.")
    while name not in FLOOR_OF:
        if name in FACES:
            return FACES[name]
        assert "." in name, f"{module} has no floor: give its folder one"
        name = name.rpartition(".")[0]
    return name


def test_imports_point_downward() -> None:
    wrong = []
    for path in MODULES:
        module = dotted(path)
        if module == "vsearch":
            continue  # the root package hands out names from everywhere, when asked
        own = folder(module)
        for other in ours(path):
            there = folder(other)
            if there != own and FLOOR_OF[there] >= FLOOR_OF[own]:
                wrong.append(f"{module} ({own}) imports {other} ({there}), which is not below it")
    assert wrong == []


def circles(edges: dict[str, set[str]]) -> Iterator[list[str]]:
    """Modules on a circle, one circle at a time (Tarjan's strongly connected components)."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    waiting: list[str] = []

    def visit(module: str) -> Iterator[list[str]]:
        number[module] = lowest[module] = len(number)
        waiting.append(module)
        for other in sorted(edges[module]):
            if other not in number:
                yield from visit(other)
            if other in waiting:
                lowest[module] = min(lowest[module], lowest[other])
        if lowest[module] == number[module]:
            start = waiting.index(module)
            circle = waiting[start:]
            del waiting[start:]
            if len(circle) > 1:
                yield circle

    for module in sorted(edges):
        if module not in number:
            yield from visit(module)


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert list(circles({name: ours(path) for name, path in NAMES.items()})) == []


def test_a_circle_would_be_found() -> None:
    assert [sorted(found) for found in circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})] == [["a", "b", "c"]]


def test_handlers_stand_on_the_floor_of_functions() -> None:
    handlers = {path for path in (ROOT / "functions").rglob("*.py") if path.name != "build.py"}  # which runs at home
    for path in handlers:
        assert all(FLOOR_OF[folder(name)] <= FLOOR_OF["fanout.platforms"] for name in ours(path)), path


def test_kernels_know_only_arrays() -> None:
    for path in (ROOT / "vsearch" / "kernels").rglob("*.py"):
        outside = {name.split(".")[0] for name in imports(path)} - {"vsearch"}
        allowed = KERNEL_LIBRARIES | (BUILD_TOOLS if path.name == "packaging.py" else set())
        assert outside <= allowed, (path, outside - allowed)


#: Maximum number of lines of a module.
LINES = 400


def test_modules_are_short() -> None:
    lines = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in NAMES.items()}
    long = {name: count for name, count in lines.items() if count > LINES}
    assert long == {}, "split these: one module, one subject"


#: Maximum number of parameters of a function, without self.
PARAMETERS = 15
#: Functions with more, and how many they may have: public ones, whose options are keywords, and commands, whose parameters
#: are options of the command line.
PUBLIC = {
    "vsearch.api.build_and_open.build": 28,
    "vsearch.api.build_and_open.build_documents": 23,
    "vsearch.jpq.trainer.train": 20,
    "vsearch.cli.indexes.build": 43,
    "vsearch.cli.searches.search": 29,
    "vsearch.api.creating.create": 16,
    "vsearch.api.index.search": 16,
    "vsearch.api.protocol.search": 16,
    "vsearch.api.remote_index.search": 17,
    "vsearch.cli.stacks.deploy": 27,
    "vsearch.cli.training.train": 19,
}


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """How many a function has; one for ``*args`` and one for ``**kwargs``, none for self."""
    given = function.args
    named = [each.arg for each in [*given.posonlyargs, *given.args, *given.kwonlyargs]]
    return len(named) - (named[:1] in (["self"], ["cls"])) + (given.vararg is not None) + (given.kwarg is not None)


def test_functions_take_few_parameters() -> None:
    counts: dict[str, int] = {}
    for name, path in NAMES.items():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                function = f"{name}.{node.name}"
                counts[function] = max(parameters(node), counts.get(function, 0))
    many = {name: count for name, count in counts.items() if count > PUBLIC.get(name, PARAMETERS)}
    assert many == {}, "group what belongs together"
    done = [name for name in PUBLIC if counts.get(name, 0) <= PARAMETERS]
    assert done == [], "these take few now: take them out of PUBLIC"


def test_only_functions_for_users_take_many_parameters() -> None:
    import vsearch
    import vsearch.jpq

    offered = {*vsearch.__all__, *vsearch.jpq.__all__, *dir(vsearch.RemoteIndex)}
    for name in PUBLIC:
        function = name.rpartition(".")[2]
        assert name.startswith("vsearch.cli.") or function in offered, f"{name} is not for users: group its parameters"


def test_no_pickle_and_no_eval() -> None:
    forbidden = {"pickle", "cloudpickle", "dill", "shelve", "marshal"}
    for path in MODULES:
        assert not {name.split(".")[0] for name in imports(path)} & forbidden, path
        calls = [node.func for node in ast.walk(tree(path)) if isinstance(node, ast.Call)]
        assert not {call.id for call in calls if isinstance(call, ast.Name)} & {"eval", "exec"}, path
