"""The legs of a new index: their writers and forecasts, from the arguments of a build."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vsearch.errors import InputError

if TYPE_CHECKING:
    from vsearch.building.plan import Forecast
    from vsearch.building.shards import PartWriter


def leg_writers(text: Any, legs: Any) -> tuple[PartWriter, ...]:
    """Return the writers of legs, given the arguments `text` and `legs` of a build.

    Raises
    ------
    InputError
    """
    arguments = _arguments(text, legs)
    if not arguments:
        return ()
    from vsearch.legs.registry import find_leg

    return tuple(find_leg(name).writer(argument) for name, argument in arguments.items())


def leg_forecasts(text: Any, legs: Any) -> tuple[Forecast, ...]:
    """Return the known forecasts of legs, given the arguments `text` and `legs` of a build.

    Raises
    ------
    InputError
    """
    arguments = _arguments(text, legs)
    if not arguments:
        return ()
    from vsearch.legs.registry import find_leg

    forecasts = [find_leg(name).forecast(argument) for name, argument in arguments.items()]
    return tuple(forecast for forecast in forecasts if forecast is not None)


def _arguments(text: Any, legs: Any) -> dict[str, Any]:
    """Return the arguments of legs by name."""
    if legs is not None and not (isinstance(legs, Mapping) and all(isinstance(name, str) for name in legs)):
        raise InputError(f"legs must be a dict of arguments by the names of legs, got {legs!r:.100}")
    if text is not None and "text" in (legs or {}):
        raise InputError("text is the leg 'text': pass only one of them")
    return ({} if text is None else {"text": text}) | dict(legs or {})
