"""Deprecated names: old names keep working, with a warning, for at least two minor releases."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from vsearch.errors import VsearchDeprecationWarning

RELEASES = 2
"""Minimum number of minor releases that warn before a name is removed."""


def deprecated_names(
    module: str, moved: Mapping[str, str], *, since: str, otherwise: Callable[[str], Any] | None = None
) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a module whose names moved elsewhere.

    Every use of an old name warns, and Python shows one warning for each line that uses it.

    Parameters
    ----------
    module : str
        The module's ``__name__``.
    moved : mapping of str to str
        Old name, and the new one in full, with its module.
    since : str
        The first release that warns, such as ``"0.4"``.
    otherwise : callable, optional
        Called for any other name; the module's own ``__getattr__`` if it has one, such as that of `lazy_names`.
    """
    removal = removed_in(since)

    def load(name: str) -> Any:
        new = moved.get(name)
        if new is not None:
            text = f"{module}.{name} is deprecated since {since} and may be removed in {removal}: use {new}"
            warnings.warn(text, VsearchDeprecationWarning, stacklevel=2)
            home, _, attribute = new.rpartition(".")
            return getattr(import_module(home), attribute)
        if otherwise is not None:
            return otherwise(name)
        raise AttributeError(f"module {module!r} has no attribute {name!r}")

    return load


def deprecated_attribute(old: str, new: str, *, since: str) -> Any:
    """Return a property that reads a renamed attribute of a class, with a warning.

    Parameters
    ----------
    old : str
        The old name with its class, such as ``"Dataset.neighbours"``.
    new : str
        The new name.
    since : str
        The first release that warns, such as ``"0.4"``.
    """
    text = f"{old} is deprecated since {since} and may be removed in {removed_in(since)}: use {new}"

    def read(self: Any) -> Any:
        warnings.warn(text, VsearchDeprecationWarning, stacklevel=2)
        return getattr(self, new)

    return property(read, doc=f"Deprecated: use `{new}`.")


def removed_in(since: str) -> str:
    """The first release that may remove a name that is deprecated since another release."""
    major, minor = map(int, since.split("."))
    return f"{major}.{minor + RELEASES}"
