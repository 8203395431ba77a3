"""The legs of a new index: their writers and forecasts, from the arguments of a build."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vsearch.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

    from vsearch.building.plan import Forecast
    from vsearch.building.shards import PartWriter
    from vsearch.legs.protocol import Leg


def leg_writers(text: Any, sparse: Any, legs: Any) -> tuple[PartWriter, ...]:
    """Return the writers of legs, given the arguments `text`, `sparse` and `legs` of a build.

    Raises
    ------
    InputError
        An argument is invalid, or there is no such leg.
    """
    return tuple(leg.writer(argument) for leg, argument in _find_legs(text, sparse, legs))


def leg_forecasts(text: Any, sparse: Any, legs: Any) -> tuple[Forecast, ...]:
    """Return the known forecasts of legs, given the arguments `text`, `sparse` and `legs` of a build.

    Raises
    ------
    InputError
        An argument is invalid, or there is no such leg.
    """
    forecasts = [leg.forecast(argument) for leg, argument in _find_legs(text, sparse, legs)]
    return tuple(forecast for forecast in forecasts if forecast is not None)


def sparse_column(sparse: Any) -> tuple[str | None, dict[str, pa.Array]]:
    """Return the name of the attribute of the weights that are passed as `sparse` to a build, and the column if it is new.

    Raises
    ------
    InputError
        `sparse` is neither a name nor a column of weights.
    """
    if sparse is None or isinstance(sparse, str):
        return sparse, {}
    from vsearch.sparse.columns import COLUMN, as_column

    return COLUMN, {COLUMN: as_column(sparse)}


def _find_legs(text: Any, sparse: Any, legs: Any) -> list[tuple[Leg[Any], Any]]:
    """Return the legs of a new index with their arguments."""
    if legs is not None and not (isinstance(legs, Mapping) and all(isinstance(name, str) for name in legs)):
        raise InputError(f"legs must be a dict of arguments by the names of legs, got {legs!r:.100}")
    arguments = {name: argument for name, argument in (("text", text), ("sparse", sparse)) if argument is not None}
    for name in arguments:
        if name in (legs or {}):
            raise InputError(f"{name} is the leg {name!r}: pass only one of them")
    arguments |= dict(legs or {})
    if not arguments:
        return []
    from vsearch.legs.registry import find_leg

    return [(find_leg(name), argument) for name, argument in arguments.items()]
