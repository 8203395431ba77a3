"""The cost of an answer: invocations, gigabyte-seconds, object requests, and their prices."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

Amount = Annotated[float, msgspec.Meta(ge=0, le=1e18)]
Tally = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class Usage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Resources used by invocations of one role.

    Attributes
    ----------
    invocations, cold_starts, failures : int
        Invocations include failed ones.
    seconds : float
        Total run time.
    gigabyte_seconds : float
        Run time multiplied by the memory of the function.
    requests, bytes : int
        Requests to the object stores of the index and of large messages, and bytes read.
    writes : int
        Number of requests that list or write, which cost more.
    """

    invocations: Tally = 0
    cold_starts: Tally = 0
    failures: Tally = 0
    seconds: Amount = 0.0
    gigabyte_seconds: Amount = 0.0
    requests: Tally = 0
    bytes: Tally = 0
    writes: Tally = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(*(getattr(self, name) + getattr(other, name) for name in self.__struct_fields__))


class Usages(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Usage by role."""

    coordinator: Usage = Usage()
    allocator: Usage = Usage()
    processor: Usage = Usage()
    writer: Usage = Usage()
    keeper: Usage = Usage()

    def __add__(self, other: Usages) -> Usages:
        return Usages(*(getattr(self, name) + getattr(other, name) for name in self.__struct_fields__))

    @property
    def total(self) -> Usage:
        """The sum over all roles."""
        return self.coordinator + self.allocator + self.processor + self.writer + self.keeper

    @classmethod
    def of(cls, role: str, usage: Usage) -> Usages:
        """Return the usage of a single role."""
        return cls(**{role: usage})

    @classmethod
    def sum(cls, usages: Iterable[Usages]) -> Usages:
        """Return the sum of usages."""
        total = cls()
        for usage in usages:
            total += usage
        return total


@dataclass(frozen=True)
class Prices:
    """List prices in dollars.

    Attributes
    ----------
    region, date : str
        Region and date of the price list.
    invocation : float
        Price of a request to a function.
    gigabyte_second : float
        Price of one GB of memory for one second.
    get, write : float
        Price of a GET or HEAD request, and of a PUT or LIST request.
    """

    region: str
    date: str
    invocation: float
    gigabyte_second: float
    get: float
    write: float


def architecture() -> str:
    """Return the processor architecture of this process, as named in price lists."""
    machine = platform.machine()
    return "arm64" if machine == "aarch64" else machine


@dataclass(frozen=True)
class Bill:
    """The cost of an answer.

    Attributes
    ----------
    usages : Usages
    prices : Prices
    dollars : dict
        Dollars by item: ``invocations``, ``compute``, ``storage``.
    """

    usages: Usages
    prices: Prices
    dollars: dict[str, float]

    @property
    def total(self) -> float:
        """Total cost in dollars."""
        return sum(self.dollars.values())

    def to_dict(self) -> dict[str, Any]:
        total = self.usages.total
        return {
            "dollars": self.total,
            "items": dict(self.dollars),
            "prices": {"region": self.prices.region, "date": self.prices.date},
            "usage": msgspec.to_builtins(total),
            "roles": msgspec.to_builtins(self.usages),
        }

    def __str__(self) -> str:
        total = self.usages.total
        return (
            f"${self.total:.9f}: {total.invocations} invocations ({total.cold_starts} cold), "
            f"{total.gigabyte_seconds:.4f} GB-s, {total.requests} object requests, {total.bytes} bytes"
        )


def make_bill(usages: Usages, prices: Prices) -> Bill:
    """Return the bill for usages."""
    total = usages.total
    return Bill(
        usages,
        prices,
        {
            "invocations": total.invocations * prices.invocation,
            "compute": total.gigabyte_seconds * prices.gigabyte_second,
            "storage": (total.requests - total.writes) * prices.get + total.writes * prices.write,
        },
    )
