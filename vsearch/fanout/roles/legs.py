"""Find the leg of a request."""

from __future__ import annotations

from vsearch.fanout.roles.leg import RequestLeg
from vsearch.fanout.wire.messages import AllocateRequest, ProcessRequest, SearchRequest


def leg_of(request: SearchRequest | AllocateRequest | ProcessRequest) -> RequestLeg | None:
    """Return the leg of a request; None for a search by single vectors. Legs are imported on first use."""
    if request.documents is not None:
        from vsearch.fanout.roles.multivector import DocumentLeg

        return DocumentLeg(request.documents)
    if request.leg is not None:
        from vsearch.fanout.roles.fused import FusedLeg
        from vsearch.legs.registry import find_leg

        return FusedLeg(request.leg, find_leg(request.leg.name))
    return None
