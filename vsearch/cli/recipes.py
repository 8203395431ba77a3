"""Recipes: named sets of build options in TOML files."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import vsearch
from vsearch.errors import InputError

OPTIONS = frozenset(
    {
        "metric",
        "quantizer",
        "bits",
        "rerank",
        "partitions",
        "shards",
        "seed",
        "spill",
        "vectors",
        "id",
        "missing",
        "packed",
    }
)


def folder() -> Path:
    """The folder of the bundled recipes: inside an installed package, or next to it in a checkout."""
    package = Path(vsearch.__file__).parent
    installed = package / "recipes"
    return installed if installed.is_dir() else package.parent / "index" / "recipes"


def read_recipe(name: str) -> dict[str, Any]:
    """Read the build options of a recipe.

    Parameters
    ----------
    name : str
        Name of a bundled recipe, or path of a TOML file with a table ``[build]``.

    Raises
    ------
    InputError
        There is no such recipe, or it is invalid.
    """
    path = Path(name) if name.endswith(".toml") else folder() / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(recipe.stem for recipe in folder().glob("*.toml")))
        raise InputError(f"--recipe must be a .toml file or one of {known}, got {name!r}")
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not TOML ({error})") from error
    options = document.get("build")
    if not isinstance(options, dict):
        raise InputError(f"{path}: a recipe must have a table [build]")
    if unknown := sorted(set(options) - OPTIONS):
        raise InputError(f"{path}: unknown build option {', '.join(unknown)}; options are {', '.join(sorted(OPTIONS))}")
    return options
