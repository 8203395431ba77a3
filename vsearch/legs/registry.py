"""Registry of legs. The module of a leg is imported when it is first needed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from vsearch.errors import InputError
from vsearch.legs.protocol import Leg
from vsearch.storage.snapshots.leg_entries import LEG_NAME, RESERVED, leg_entries

if TYPE_CHECKING:
    from vsearch.storage import Manifest

GROUP = "vsearch.legs"
"""Entry point group for other packages: the name is that of the leg, the object a `LegKind`."""


@dataclass(frozen=True, slots=True)
class LegKind:
    """One kind of leg, for `register_leg`.

    Attributes
    ----------
    name : str
        Name in manifests, messages and arguments: up to 32 characters a-z, 0-9 and _, the first a letter.
    description : str
    leg : str
        ``module:object``; the object is a `Leg`.
    """

    name: str
    description: str
    leg: str

    def load(self) -> Leg[Any]:
        """Import the leg."""
        module, _, name = self.leg.partition(":")
        leg = getattr(import_module(module), name)
        if not isinstance(leg, Leg) or leg.name != self.name:
            raise InputError(f"{self.leg} must be a Leg with the name {self.name!r}, got {leg!r:.100}")
        return leg


TEXT = LegKind("text", "the words of text columns, by BM25", "vsearch.text.leg:LEG")

SPARSE = LegKind("sparse", "weights of terms, by inner product", "vsearch.sparse.leg:LEG")

BUILT_IN = (TEXT, SPARSE)

_kinds = {kind.name: kind for kind in BUILT_IN}
_legs: dict[str, Leg[Any]] = {}


def register_leg(kind: LegKind) -> None:
    """Register a leg, so that indexes can be built with it and searched by it.

    Installed packages need not call this: an entry point in the group ``vsearch.legs``, named after the leg, whose object is the
    `LegKind`, is found when the leg is first needed. `vsearch.testing.legs.LegContract` has the tests that the leg must pass.

    Raises
    ------
    InputError
        The name is invalid or already taken, or the leg is not of the form ``module:object``.
    """
    if not re.fullmatch(LEG_NAME, kind.name) or (kind.name in RESERVED and kind not in BUILT_IN):
        raise InputError(
            f"the name of a leg must match {LEG_NAME} and not be one of {', '.join(sorted(RESERVED))}, got {kind.name!r:.100}"
        )
    if not re.fullmatch(r"\w+(\.\w+)*:\w+", kind.leg):
        raise InputError(f"leg must be 'module:object', got {kind.leg!r:.100}")
    if _kinds.setdefault(kind.name, kind) != kind:
        raise InputError(f"the leg {kind.name!r} is already registered: {_kinds[kind.name].description}")


def find_leg(name: str) -> Leg[Any]:
    """Return a leg by name.

    Raises
    ------
    InputError
        It is not registered.
    """
    leg = _legs.get(name)
    if leg is None:
        kind = _find_kind(name)
        if kind is None:
            raise InputError(f"leg must be one of {', '.join(_kinds)}, got {name!r:.100}; others need to be installed")
        leg = _legs[name] = kind.load()
    return leg


def leg_kinds() -> tuple[LegKind, ...]:
    """Return all registered kinds."""
    return tuple(_kinds.values())


def legs_of(manifest: Manifest) -> list[Leg[Any]]:
    """Return the legs of an index that are registered here; searches by vectors need none of them."""
    return [find_leg(name) for name in leg_entries(manifest) if _find_kind(name) is not None]


def all_legs_of(manifest: Manifest) -> list[Leg[Any]]:
    """Return the legs of an index, for changes that write their files.

    Raises
    ------
    InputError
        One is not registered: without it, rows would be lost for its searches.
    """
    return [find_leg(name) for name in leg_entries(manifest)]


def _find_kind(name: str) -> LegKind | None:
    if name not in _kinds and re.fullmatch(LEG_NAME, name):
        from importlib.metadata import entry_points

        for point in entry_points(group=GROUP, name=name):
            kind = point.load()
            if not isinstance(kind, LegKind) or kind.name != name:
                raise InputError(
                    f"the entry point {name!r} of {GROUP} must be a LegKind of this name, got {kind!r:.100}"
                )
            register_leg(kind)
            break
    return _kinds.get(name)
