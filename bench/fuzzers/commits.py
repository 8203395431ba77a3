"""Concurrent builds, trainings, tunings and prunes on a store that loses responses, refuses, fails and kills."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import uuid4

import msgspec
import numpy as np

from bench.fuzzers.actors import Fault, Killed, TroubledStore, Turns
from vsearch.errors import ConflictError, IndexNotFoundError, StoreError
from vsearch.storage import (
    FORMAT,
    CodecEntry,
    Manifest,
    ProvenanceEntry,
    SettingsEntry,
    ShardEntry,
    Store,
    commit,
    discarded_on_failure,
    open_store,
    prune,
    read_manifest,
    verify,
    write_arrays,
)
from vsearch.storage.snapshots import committing

QUIET: Mapping[Fault, float] = {"refused": 0.1, "twice": 0.1}
UNRELIABLE: Mapping[Fault, float] = {"lost": 0.05, "refused": 0.1, "failed": 0.05, "twice": 0.1}
DEADLY: Mapping[Fault, float] = {"lost": 0.03, "refused": 0.05, "twice": 0.05, "killed": 0.04}


def fuzz_commits(seed: int, tries: int) -> int:
    """Run and check this many histories; return the number of commits.

    Raises
    ------
    AssertionError
        A committed snapshot was lost, two writers of a first snapshot both succeeded, or the newest cannot be read.
    """
    waits = (committing.PATIENCE, committing.FIRST_WAIT, committing.LONGEST_WAIT)
    committing.PATIENCE, committing.FIRST_WAIT, committing.LONGEST_WAIT = 0.5, 0.0005, 0.002
    try:
        return sum(_history(seed * 1_000_003 + number) for number in range(tries))
    finally:
        committing.PATIENCE, committing.FIRST_WAIT, committing.LONGEST_WAIT = waits


def _history(seed: int) -> int:
    turns = Turns(seed)
    draw = turns.random
    store = open_store(f"memory://{uuid4().hex}/index")
    # A writer takes back a commit whose files were removed by a prune without grace, unless it dies or loses the store.
    faults = draw.choice((QUIET, UNRELIABLE, DEADLY))
    grace = draw.choice((timedelta(0), timedelta(days=1))) if faults is QUIET else timedelta(days=1)
    if draw.random() < 0.7:
        for _ in range(draw.randint(1, 2)):
            _replace(store, uuid4().hex, first=False)
    began = _newest(store)
    committed: dict[str, str] = {}

    def actor(number: int) -> None:
        troubled: Any = TroubledStore(store, turns, number, faults)
        for _ in range(2):
            writer, kind = uuid4().hex, draw.choice(("first", "replace", "tune", "train", "prune", "prune"))
            with suppress(ConflictError, StoreError, IndexNotFoundError):
                if kind == "prune":
                    prune(troubled, draw.randint(1, 2), grace=grace)
                    continue
                if kind in ("first", "replace"):
                    _replace(troubled, writer, first=kind == "first")
                else:
                    _go_on(troubled, writer, trained=kind == "train")
                committed[writer] = kind

    results = turns.run([actor] * draw.randint(2, 4))
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, Killed):
            raise result
    _check(seed, store, committed, began)
    return len(committed)


def _check(seed: int, store: Store, committed: Mapping[str, str], began: Manifest | None) -> None:
    newest = _newest(store)
    if newest is None:
        assert not committed, f"seed {seed}: there is no snapshot, but {committed} were committed"
        return
    report = verify(store)
    assert report.ok, f"seed {seed}: the newest snapshot is damaged: {report.problems}"
    chain = {newest.writer, *newest.lineage}
    lost = set(committed) - chain
    assert not lost, f"seed {seed}: the newest snapshot does not go back to {[committed[name] for name in lost]}"
    assert began is None or began.writer in chain, f"seed {seed}: what was there at the start is lost"
    firsts = [writer for writer, kind in committed.items() if kind == "first"]
    assert len(firsts) <= (began is None), f"seed {seed}: {len(firsts)} builds found nothing and committed"
    prune(store, 1, grace=0)
    assert verify(store).ok, f"seed {seed}: a prune took files of the newest snapshot"
    assert commit(store, newest, base=newest.snapshot).snapshot == newest.snapshot + 1


def _newest(store: Store) -> Manifest | None:
    try:
        return read_manifest(store)
    except IndexNotFoundError:
        return None


def _replace(store: Store, writer: str, *, first: bool) -> None:
    """Act like a build."""
    with discarded_on_failure(store, writer):
        manifest = _manifest(writer, tuple(_shard(store, writer, number) for number in range(2)))
    commit(store, manifest, base=0 if first else None, insist=not first)


def _go_on(store: Store, writer: str, *, trained: bool) -> None:
    """Act like a tuning or a training."""
    before = read_manifest(store)
    manifest = msgspec.structs.replace(before, writer=writer, settings=SettingsEntry(k=1))
    if trained:
        with discarded_on_failure(store, writer):
            shards = (before.shards[0], _shard(store, writer, 1))
            manifest = msgspec.structs.replace(manifest, shards=shards)
    commit(store, manifest, base=before.snapshot)


def _shard(store: Store, writer: str, number: int) -> ShardEntry:
    entry, _ = write_arrays(
        store, f"segments/{writer}-{number:05d}-codes.arrow", {"codes": np.arange(9, dtype=np.uint8)}
    )
    return ShardEntry(number, 9, 1, {"codes": entry})


def _manifest(writer: str, shards: tuple[ShardEntry, ...]) -> Manifest:
    return Manifest(
        format=FORMAT,
        snapshot=0,
        writer=writer,
        created="2026-01-01T00:00:00Z",
        rows=sum(shard.rows for shard in shards),
        dimensions=8,
        metric="cosine",
        id_type="row",
        quantizer=CodecEntry("osq", {}),
        rerank=None,
        partitions=len(shards),
        seed=0,
        model={},
        shards=shards,
        attributes=(),
        settings=SettingsEntry(),
        provenance=ProvenanceEntry(),
    )
