"""Records that describe a platform for functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Literal

from vsearch.fanout.calls.bill import Prices
from vsearch.fanout.calls.invoker import Invoker


@dataclass(frozen=True)
class Limits:
    """The limits of a platform.

    Attributes
    ----------
    request_bytes, response_bytes : int
        Maximum size of an event, and of a function's response, as counted by the platform.
    least_memory, most_memory : int
        Minimum and maximum memory of a function in MB.
    seconds : int
        Maximum duration of an invocation.
    """

    request_bytes: int
    response_bytes: int
    least_memory: int
    most_memory: int
    seconds: int


@dataclass(frozen=True)
class Forecast:
    """Assumptions about a platform for cost forecasts.

    Attributes
    ----------
    whole_processor : int
        Memory in MB at which a function has one virtual CPU; with less memory it has a proportional share.
    hop : float
        Overhead of an invocation in seconds, in addition to the function's duration.
    byte : float
        Additional seconds per byte of a message or reply.
    """

    whole_processor: int
    hop: float
    byte: float


@dataclass(frozen=True)
class Platform:
    """One platform. All platforms are listed in `vsearch.fanout.platforms.registry`.

    Attributes
    ----------
    name : str
        The name of the platform in ``VSEARCH_INVOKER``.
    scheme : str
        URL scheme for `vsearch.open`; empty if it has none.
    options : tuple of str
        Options of `vsearch.open` that are passed to `connect`.
    connect : callable or None
        Creates the invoker of a client from keyword options.
    call : callable or None
        Creates the invoker that functions use to call each other, from the value of ``VSEARCH_INVOKER`` and the environment.
    events : {"json", "bytes"}
        Encoding of messages: base64 in a JSON event, or raw bytes.
    limits : Limits or None
        None if no limits are known.
    prices : mapping of str to Prices
        By architecture; empty if nothing is billed.
    forecast : Forecast or None
    function_variable, memory_variable : str
        Environment variables that contain a function's name, and its memory in MB.
    endpoint : str
        ``module:function`` that returns the default of the option ``endpoint``; empty if `connect` has its own default.
    deployer : str
        The module that deploys to the platform, see `vsearch.deploy.deployer`; empty if there is none.

    Notes
    -----
    `endpoint` and `deployer` are names because they are in higher layers, which packages of functions do not contain.
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
        """Maximum size of a message in an event, in bytes; None if there is no limit."""
        if self.limits is None or self.events == "bytes":
            return None if self.limits is None else self.limits.request_bytes
        from vsearch.fanout.wire.envelope import binary_limit

        return binary_limit(self.limits.request_bytes)

    def prices_of(self, arch: str) -> Prices:
        """List prices of an architecture; of the first one in the table if the platform does not have it."""
        return self.prices.get(arch) or next(iter(self.prices.values()), FREE)


FREE = Prices("nowhere", "", 0.0, 0.0, 0.0, 0.0)
"""Whether the platform bills nothing."""


def load_named(name: str) -> Any:
    """Import the object that ``module:attribute`` or ``module`` names."""
    module, _, attribute = name.partition(":")
    loaded = import_module(module)
    return getattr(loaded, attribute) if attribute else loaded
