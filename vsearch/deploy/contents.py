"""The part of a function's package that is our own code: the handlers and every module that they import."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

_NAMED = re.compile(r"(vsearch(?:\.\w+)+):\w+")

_CLIENTS = ("vsearch.api.", "vsearch.deploy.")  # named in registries, but called by clients only

NOT_DEPLOYED = ("build.py",)  # in the handlers' folder, but runs where packages are built

_CHANGING = ("writer.py", "keeper.py", "framework_changes.py")  # handlers that change the index


def list_sources(root: Path, *, changes: bool = False) -> list[Path]:
    """List the handlers and the modules of vsearch that they need, as paths below `root`, sorted.

    Imports inside functions count, and so do strings like ``"vsearch.module:function"``, by which registries name the objects that they
    import later, except those that only clients call. Imports for type checkers alone do not count.

    Parameters
    ----------
    root : Path
        The folder with the packages ``functions`` and ``vsearch``.
    changes : bool
        The handlers that change the index, in place of those that search it.
    """
    handlers = [
        path
        for path in sorted((root / "functions").glob("*.py"))
        if path.name == "__init__.py" or (path.name not in NOT_DEPLOYED and (path.name in _CHANGING) is changes)
    ]
    sources: set[Path] = set()
    queue = list(handlers)
    while queue:
        path = queue.pop()
        if path in sources:
            continue
        sources.add(path)
        for module in _imported(path, root):
            queue += _files(module, root)
    return sorted(path.relative_to(root) for path in sources)


def _imported(path: Path, root: Path) -> Iterator[str]:
    for node in _running(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                yield from _homes(node.module, alias.name, root)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            named = _NAMED.fullmatch(node.value)
            if named is not None and not named[1].startswith(_CLIENTS):
                yield named[1]


def _homes(module: str, name: str, root: Path) -> list[str]:
    """The modules that ``from module import name`` loads."""
    package = root.joinpath(*module.split("."), "__init__.py")
    if not package.is_file():
        return [module]
    if _files(f"{module}.{name}", root)[-1:] != _files(module, root)[-1:]:
        return [f"{module}.{name}"]
    # a lazily imported public name: the imports for type checkers say which module defines it
    declared = [
        node for node in ast.walk(ast.parse(package.read_text(encoding="utf-8"))) if isinstance(node, ast.ImportFrom)
    ]
    return [module, *(node.module for node in declared if node.module and name in {alias.name for alias in node.names})]


def _files(module: str, root: Path) -> list[Path]:
    """The files that run when one of our modules is imported, its own last; empty for libraries."""
    parts = module.split(".")
    if parts[0] not in ("vsearch", "functions"):
        return []
    files = [root.joinpath(*parts[:depth], "__init__.py") for depth in range(1, len(parts) + 1)]
    files.append(root.joinpath(*parts).with_suffix(".py"))
    return [path for path in files if path.is_file()]


def _running(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes that may run, skipping blocks for type checkers."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
            continue
        yield child
        yield from _running(child)
