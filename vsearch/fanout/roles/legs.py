"""Find the leg of a request."""

from __future__ import annotations

from vsearch.fanout.roles.leg import Leg
from vsearch.fanout.wire.messages import AllocateRequest, ProcessRequest, SearchRequest


def leg_of(request: SearchRequest | AllocateRequest | ProcessRequest) -> Leg | None:
    """Return the leg of a request; None for a search by single vectors. Legs are imported on first use."""
    if request.documents is not None:
        from vsearch.fanout.roles.multivector import DocumentLeg

        return DocumentLeg(request.documents)
    if request.words is not None:
        from vsearch.fanout.roles.words import WordLeg

        return WordLeg(request.words)
    return None
