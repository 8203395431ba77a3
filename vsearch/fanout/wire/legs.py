"""Queries of a leg in messages: as written by users on the way to a planner, planned on the way to processors.

The leg defines the bytes of its queries, and checks them when it reads them (`vsearch.legs.protocol.Leg`).
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from vsearch.fanout.wire.texts import LARGEST_TEXT, LARGEST_TEXTS

MOST_QUERIES = 4096
LARGEST_SHARED = 1 << 20

Depth = Annotated[int, msgspec.Meta(ge=1, le=10_000)]
Weight = Annotated[float, msgspec.Meta(ge=0, le=1e6)]


class LegQueries(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Queries of a leg, and how their ranking is joined with that of vectors; see `vsearch.Index.search_leg`.

    Attributes
    ----------
    name : str
        Name of the leg.
    queries : tuple of bytes
        One for each query of the message, as `Leg.read` returns them.
    planned : tuple of bytes
        The same in a message to a processor, in place of `queries`, as `Leg.pack` returns them.
    shared : bytes
        Data that planned queries share.
    depth : int or None
        Candidates of vectors and of the leg; None if there are no vectors.
    fusion, weights
        See `vsearch.legs.fusing.FusionOptions`.
    """

    name: Annotated[str, msgspec.Meta(pattern="^[a-z][a-z0-9_]{0,31}$")]
    queries: Annotated[
        tuple[Annotated[bytes, msgspec.Meta(max_length=LARGEST_TEXT)], ...], msgspec.Meta(max_length=MOST_QUERIES)
    ] = ()
    planned: Annotated[tuple[bytes, ...], msgspec.Meta(max_length=MOST_QUERIES)] = ()
    shared: Annotated[bytes, msgspec.Meta(max_length=LARGEST_SHARED)] = b""
    depth: Depth | None = None
    fusion: Literal["rrf", "weighted"] = "rrf"
    weights: tuple[Weight, Weight] = (1.0, 1.0)


def check_leg(leg: LegQueries, count: int, *, planned: bool) -> None:
    """Check that the queries of a leg are consistent, for a message of `count` queries.

    Raises
    ------
    ValueError
        They are not; the message says which rule they break.
    """
    present, absent = (leg.planned, leg.queries) if planned else (leg.queries, leg.planned)
    if len(present) != count or absent:
        raise ValueError(f"there must be {count} queries of the leg {leg.name}, got {len(present)}")
    if leg.shared and not planned:
        raise ValueError("shared data is only allowed with planned queries")
    total = sum(map(len, leg.queries))
    if total > LARGEST_TEXTS:
        raise ValueError(f"queries of a leg must have at most {LARGEST_TEXTS} bytes, got {total}")
