"""What there is to know of a platform that runs functions, in one record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Literal

from vsearch.fanout.calls.bill import Prices
from vsearch.fanout.calls.invoker import Invoker


@dataclass(frozen=True)
class Limits:
    """What a platform sets limits to.

    Attributes
    ----------
    request_bytes, response_bytes : int
        Of an event and of what a function returns, as the platform counts them.
    least_memory, most_memory : int
        MB of a function.
    seconds : int
        Of one invocation, at most.
    """

    request_bytes: int
    response_bytes: int
    least_memory: int
    most_memory: int
    seconds: int


@dataclass(frozen=True)
class Forecast:
    """What a forecast of cost takes a platform for.

    Attributes
    ----------
    whole_processor : int
        MB for which a function has one virtual processor; less memory has a share of one.
    hop : float
        Seconds that a caller waits for an invocation besides what the function takes.
    byte : float
        The same for each byte of a message or reply.
    """

    whole_processor: int
    hop: float
    byte: float


@dataclass(frozen=True)
class Platform:
    """One platform. The table of them is in `vsearch.fanout.platforms.registry`.

    Attributes
    ----------
    name : str
        What ``VSEARCH_INVOKER`` of a function calls it.
    scheme : str
        Of the URLs that `vsearch.open` takes; empty where it opens none.
    options : tuple of str
        Options of `vsearch.open` that `connect` takes.
    connect : callable or None
        Makes the invoker of a client, given options by name.
    call : callable or None
        Makes the invoker by which functions call each other, given the value of ``VSEARCH_INVOKER`` and the environment.
    events : {"json", "bytes"}
        How a message travels: as base64 in a JSON event, or as it is.
    limits : Limits or None
        None where the platform is not known to have any.
    prices : mapping of str to Prices
        By architecture; empty where nothing is billed.
    forecast : Forecast or None
    function_variable, memory_variable : str
        Environment variables that tell a function its name and its memory in MB.
    endpoint : str
        ``module:function`` that gives the option ``endpoint`` where a client names none; empty where `connect` knows it.
    deployer : str
        The module that deploys to it, see `vsearch.deploy.deployer`; empty where there is none.

    Notes
    -----
    `endpoint` and `deployer` are names because they stand on floors above this one, which no function's package carries.
    """

    name: str
    scheme: str = ""
    options: tuple[str, ...] = ()
    connect: Callable[..., Invoker] | None = None
    call: Callable[[str, Mapping[str, str]], Invoker] | None = None
    events: Literal["json", "bytes"] = "bytes"
    limits: Limits | None = None
    prices: Mapping[str, Prices] = field(default_factory=dict)
    forecast: Forecast | None = None
    function_variable: str = "AWS_LAMBDA_FUNCTION_NAME"
    memory_variable: str = "AWS_LAMBDA_FUNCTION_MEMORY_SIZE"
    endpoint: str = ""
    deployer: str = ""

    @property
    def message_bytes(self) -> int | None:
        """Bytes of a message that fit an event; None where there is no limit."""
        if self.limits is None or self.events == "bytes":
            return None if self.limits is None else self.limits.request_bytes
        from vsearch.fanout.wire.envelope import binary_limit

        return binary_limit(self.limits.request_bytes)

    def prices_of(self, arch: str) -> Prices:
        """List prices of an architecture; those of the first in the table where the platform does not have it."""
        return self.prices.get(arch) or next(iter(self.prices.values()), FREE)


FREE = Prices("nowhere", "", 0.0, 0.0, 0.0, 0.0)
"""Of a platform that bills nothing."""


def load_named(name: str) -> Any:
    """What ``module:attribute`` or ``module`` names."""
    module, _, attribute = name.partition(":")
    loaded = import_module(module)
    return getattr(loaded, attribute) if attribute else loaded
