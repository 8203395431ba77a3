"""Encode predicates for messages, and bind them to the attributes of an index."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vsearch.fanout.wire.messages import Options

if TYPE_CHECKING:
    from vsearch.predicates import Bound
    from vsearch.storage import Manifest


def encode_where(where: Any) -> bytes | None:
    """Encode a predicate of any form for a message.

    Raises
    ------
    PredicateError
        It is not a valid predicate.
    """
    if where is None:
        return None
    from vsearch.predicates import encode, parse

    expression = parse(where)
    return None if expression is None else encode(expression)


def bind_where(manifest: Manifest, options: Options) -> Bound | None:
    """Bind the predicate of a message to the attributes of the index.

    Raises
    ------
    PredicateError
        It is not a valid predicate on the attributes of the index.
    """
    if options.where is None:
        return None
    from vsearch.predicates import bind
    from vsearch.predicates.checking import decode as decode_expression
    from vsearch.search.state.snapshot import schema_of

    return bind(decode_expression(options.where), schema_of(manifest))
