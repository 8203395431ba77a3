"""Answers of a worker to requests other than searches: that it is warm, and the description of its index."""

from __future__ import annotations

import msgspec

from vsearch.errors import InputError
from vsearch.fanout.roles.loading import Loader, as_of, moment_for
from vsearch.fanout.roles.texts import has_encoder, load_encoder
from vsearch.fanout.wire.messages import Described, InfoRequest, Warmed, WarmRequest


def warm(role: str, loader: Loader, message: WarmRequest) -> Warmed:
    """Load what searches need."""
    manifest = loader.manifest(message.snapshot)
    number = manifest.snapshot
    if role == "processor":
        if message.shard is None:
            raise InputError("shard is required to warm a processor")
        loader.shard(number, message.shard, legs=message.legs)
    else:
        loader.tables(number, legs=message.legs)
    if role == "coordinator" and has_encoder(manifest):
        load_encoder(loader, manifest)
    return Warmed(snapshot=number, bytes=loader.retention.stats().bytes)


def describe_index(loader: Loader, message: InfoRequest) -> Described:
    """Return the result of `vsearch.Index.info`."""
    from vsearch.search.state.info import describe

    manifest = loader.manifest(message.snapshot)
    moment = moment_for(manifest, message.moment, pinned=message.snapshot is not None)
    snapshot = as_of(loader.tables(manifest.snapshot).snapshot, moment)
    return Described(document=msgspec.json.encode(describe(snapshot)), moment=moment)
