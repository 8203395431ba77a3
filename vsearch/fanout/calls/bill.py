"""What an answer cost: invocations, memory times time, object requests, and dollars by a table of prices."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

Amount = Annotated[float, msgspec.Meta(ge=0, le=1e18)]
Tally = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class Usage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What some invocations of one role used.

    Attributes
    ----------
    invocations, cold_starts, failures : int
        Failed invocations are among the invocations.
    seconds : float
        Run time, summed.
    gigabyte_seconds : float
        Run time times the memory of the function.
    requests, bytes : int
        Requests to object stores, of the index and of large messages, and bytes read from them.
    writes : int
        Those among the requests that list or write, which cost more.
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
        """All roles together."""
        return self.coordinator + self.allocator + self.processor + self.writer + self.keeper

    @classmethod
    def of(cls, role: str, usage: Usage) -> Usages:
        """Usage of one role only."""
        return cls(**{role: usage})

    @classmethod
    def sum(cls, usages: Iterable[Usages]) -> Usages:
        """All of them together."""
        total = cls()
        for each in usages:
            total += each
        return total


@dataclass(frozen=True)
class Prices:
    """List prices in dollars.

    Attributes
    ----------
    region, date : str
        Where and when they were read.
    invocation : float
        Of one request to a function.
    gigabyte_second : float
        Of one GB of memory for one second.
    get, write : float
        Of one GET or HEAD of an object, and of one PUT or LIST.
    """

    region: str
    date: str
    invocation: float
    gigabyte_second: float
    get: float
    write: float


def architecture() -> str:
    """What this process runs on, as prices name it."""
    machine = platform.machine()
    return "arm64" if machine == "aarch64" else machine


@dataclass(frozen=True)
class Bill:
    """What one answer cost.

    Attributes
    ----------
    usages : Usages
    prices : Prices
    dollars : dict
        By item: ``invocations``, ``compute``, ``storage``.
    """

    usages: Usages
    prices: Prices
    dollars: dict[str, float]

    @property
    def total(self) -> float:
        """Dollars, all items together."""
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
    """Price what was used."""
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
