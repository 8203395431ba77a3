"""The requirements in pyproject.toml are compatible with each other."""

from __future__ import annotations

import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
REQUIREMENTS = [Requirement(text) for text in PROJECT["dependencies"]]
EXTRAS = {name: [Requirement(text) for text in texts] for name, texts in PROJECT["optional-dependencies"].items()}
LOWEST = {
    canonicalize_name(each.name): lowest
    for each in [*REQUIREMENTS, *(each for group in EXTRAS.values() for each in group)]
    for lowest in (Version(part.version) for part in each.specifier if part.operator == ">=")
}


@pytest.mark.parametrize("name", sorted(LOWEST))
def test_lower_bounds_do_not_contradict_each_other(name):
    """Ours on one package is not below what another that we ask for needs of it."""
    try:
        needed = metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        pytest.skip(f"{name} is not installed")
    for text in needed:
        other = Requirement(text)
        if other.marker is not None and not other.marker.evaluate({"extra": ""}):
            continue
        ours = LOWEST.get(canonicalize_name(other.name))
        for part in other.specifier if ours is not None else ():
            if part.operator == ">=":
                assert ours >= Version(part.version), f"{name} needs {other}, and we ask for {other.name}>={ours}"


def test_every_requirement_has_a_lower_bound():
    assert {canonicalize_name(each.name) for each in REQUIREMENTS} <= set(LOWEST)
