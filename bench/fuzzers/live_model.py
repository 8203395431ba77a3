"""A reference model of a live index: a dict of its rows, the effect of every operation, and a comparison with an index."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa

import vsearch
from vsearch.api.index import Index
from vsearch.live.commits import Commit
from vsearch.live.optimizing import fold, optimize
from vsearch.search.state.snapshot import open_snapshot
from vsearch.storage import Store, open_store, read_manifest
from vsearch.storage.stores.held import HeldBytes

DIMENSIONS = 8
ROWS = 60
ID_TYPES = ("row", "int", "string")
WORDS = ("red", "green", "blue")


@dataclass(frozen=True, eq=False)
class Row:
    """The contents of a row, without its id."""

    vector: np.ndarray
    n: int | None
    s: str | None


@dataclass(frozen=True, eq=False)
class State:
    """All rows of an index by id, and the next id if the index numbers its rows."""

    rows: Mapping[Any, Row]
    next_row: int = 0


#: Predicates, as SQL and as Python functions.
CONDITIONS: dict[str, Callable[[Row], bool]] = {
    "n = 3": lambda row: row.n == 3,
    "n < 2": lambda row: row.n is not None and row.n < 2,
    "s = 'red'": lambda row: row.s == "red",
    "s = 'blue' AND n >= 4": lambda row: row.s == "blue" and row.n is not None and row.n >= 4,
    "n IS NULL": lambda row: row.n is None,
    "n = 1000": lambda row: row.n == 1000,
    "n IS NULL OR n IS NOT NULL": lambda _: True,
}


@dataclass(eq=False)
class Ask:
    """A requested change.

    ``kind`` is append, upsert, update, delete, fold or optimize; ``rows`` are new ones in order; ``value`` is what `update`
    sets ``n`` to.
    """

    kind: str
    ids: list[Any] | None = None
    rows: list[Row] = field(default_factory=list)
    where: str | None = None
    value: int | None = None
    token: str | None = None
    if_snapshot: int | None = None
    force: bool = False

    def __repr__(self) -> str:
        fields = {name: value for name, value in vars(self).items() if value and name not in ("kind", "rows")}
        return f"{self.kind}({fields}, {len(self.rows)} rows)"


@dataclass(frozen=True)
class Outcome:
    """Apply an operation to a state: return the new state and the counts; None if it is not applicable."""

    state: State
    added: int = 0
    replaced: int = 0
    deleted: int = 0

    @property
    def counts(self) -> tuple[int, int, int]:
        return self.added, self.replaced, self.deleted


def outcome(state: State, ask: Ask) -> Outcome | None:
    """Apply an operation to a state; None if it must be refused."""
    rows = dict(state.rows)
    if ask.kind in ("fold", "optimize"):
        return Outcome(state)
    if ask.kind == "append":
        ids = list(range(state.next_row, state.next_row + len(ask.rows))) if ask.ids is None else ask.ids
        if any(one in rows for one in ids):
            return None
        rows.update(zip(ids, ask.rows, strict=True))
        return Outcome(State(rows, state.next_row + len(ids)), added=len(ids))
    if ask.kind == "upsert":
        ids = ask.ids or []
        old = sum(one in rows for one in ids)
        rows.update(zip(ids, ask.rows, strict=True))
        return Outcome(State(rows, state.next_row), len(ids) - old, old)
    chosen = [one for one, row in rows.items() if CONDITIONS[ask.where](row)] if ask.where else list(ask.ids or [])
    if ask.kind == "delete":
        deleted_ids = [one for one in chosen if rows.pop(one, None) is not None]
        return Outcome(State(rows, state.next_row), deleted=len(deleted_ids))
    if any(one not in rows for one in chosen):
        return None
    for one in chosen:
        rows[one] = replace(rows[one], n=ask.value)
    return Outcome(State(rows, state.next_row), replaced=len(chosen))


def changes(made: Outcome | None) -> bool:
    """Whether an operation changes a state."""
    return made is not None and any(made.counts)


def carry_out(index: Index, ask: Ask) -> Commit:
    """Apply a change to an index."""
    if ask.kind in ("append", "upsert"):
        change = index.append if ask.kind == "append" else index.upsert
        vectors = np.stack([row.vector for row in ask.rows])
        table = pa.table({"n": pa.array([r.n for r in ask.rows], pa.int64()), "s": [r.s for r in ask.rows]})
        return change(vectors, table, ask.ids, token=ask.token, if_snapshot=ask.if_snapshot)
    more: dict[str, Any] = {"ids": ask.ids, "where": ask.where, "token": ask.token, "if_snapshot": ask.if_snapshot}
    if ask.kind == "delete":
        return index.delete(**more)
    if ask.kind == "update":
        return index.update({"n": ask.value}, **more)
    if ask.kind == "optimize":
        report, _ = optimize(index.snapshot, force=ask.force)
    else:
        report, _ = fold(index.snapshot, most=3 if ask.force else 64)
    index.refresh()
    return Commit(report.snapshot)


def draw_row(draw: random.Random) -> Row:
    """A random row; a few have no attributes."""
    vector = np.array([draw.gauss(0, 1) for _ in range(DIMENSIONS)], np.float32)
    if draw.random() < 0.1:
        return Row(vector, None, None)
    return Row(vector, draw.randrange(7), draw.choice(WORDS))


def named(id_type: str, number: int) -> Any:
    """The id with a number."""
    return f"row {number}" if id_type == "string" else number


def draw_ask(draw: random.Random, id_type: str, new: int = 12) -> Ask:
    """A random change. There are few ids, so that writers conflict: those of the first rows, and some new ones."""
    kind = draw.choice(("append", "append", "upsert", "upsert", "update", "delete", "delete", "optimize", "fold"))
    token = uuid4().hex if draw.random() < 0.4 else None
    count = draw.randint(1, 4)
    old = [named(id_type, draw.randrange(8)) for _ in range(count)]
    fresh = [named(id_type, ROWS + draw.randrange(new)) for _ in range(count)]
    if kind in ("optimize", "fold"):
        return Ask(kind, force=draw.random() < 0.6)
    if kind == "append":
        ids = list(dict.fromkeys(fresh if draw.random() < 0.8 else [*old[:1], *fresh]))
        rows = [draw_row(draw) for _ in ids]
        return Ask(kind, None if id_type == "row" else ids, rows, token=token)
    if kind == "upsert":
        ids = list(dict.fromkeys(old if id_type == "row" else [*old[:2], *fresh[:2]]))
        return Ask(kind, ids, [draw_row(draw) for _ in ids], token=token)
    where = draw.choice(tuple(CONDITIONS)) if draw.random() < 0.5 else None
    if where == "n IS NULL OR n IS NOT NULL" and draw.random() < 0.8:
        where = "n = 3"
    ids = list(dict.fromkeys(old if draw.random() < 0.5 else [*old[:1], *fresh[:1]]))
    return Ask(kind, None if where else ids, where=where, value=draw.randrange(7), token=token)


@dataclass(frozen=True, eq=False)
class Beginning:
    """An index as built: its objects, and its contents."""

    objects: Mapping[str, bytes]
    state: State
    id_type: str

    def copy(self, store: Store) -> Store:
        """Copy the index into a store."""
        for path, data in self.objects.items():
            store.put(path, data)
        return store


@cache
def beginning(
    id_type: str, shards: int, rerank: str | None = "float32", rows: int = ROWS, *, spill: bool = False
) -> Beginning:
    """A small index, built once per process."""
    draw = random.Random(f"{id_type} {shards}")
    made = [draw_row(draw) for _ in range(rows)]
    ids = [named(id_type, number) for number in range(rows)]
    url = f"memory://{uuid4().hex}/index"
    table = pa.table({"n": pa.array([row.n for row in made], pa.int64()), "s": [row.s for row in made]})
    options: dict[str, Any] = {"metric": "l2", "rerank": rerank, "partitions": 4, "shards": shards, "spill": spill}
    vsearch.build(np.stack([r.vector for r in made]), url, table, None if id_type == "row" else ids, **options)
    store = open_store(url)
    objects = {info.path: bytes(store.get(info.path)) for info in store.list("")}
    return Beginning(objects, State(dict(zip(ids, made, strict=True)), rows), id_type)


def mapped() -> Store:
    """A store whose files remain readable after they are removed if they were opened before, like those of a folder."""
    return HeldBytes(f"held://{uuid4().hex}")


def remote() -> Store:
    """A store whose files are read by ranges, like those of a bucket."""
    return open_store(f"memory://{uuid4().hex}/index")


def begin(draw: random.Random, id_type: str) -> tuple[Store, State]:
    """A small index of one or two shards, in either kind of store, and its contents."""
    begun = beginning(id_type, draw.choice((1, 2)), spill=draw.choice((False, True)))
    return begun.copy(draw.choice((mapped, remote))()), begun.state


def open_here(store: Store) -> Index:
    """The newest snapshot."""
    return Index(open_snapshot(store, read_manifest(store)))


def check(index: Index, state: State, draw: random.Random, *, scores: bool = True) -> None:
    """Compare an index with its expected contents.

    Parameters
    ----------
    scores
        Whether the index stores vectors without loss, so that scores of exact searches can be compared.

    Raises
    ------
    AssertionError
    """
    expected, text = state.rows, index.snapshot.manifest.id_type == "string"
    assert len(index) == len(expected), f"{len(index)} rows instead of {len(expected)}"
    query = np.array([draw.gauss(0, 1) for _ in range(DIMENSIONS)], np.float32)
    hits = index.search(query, k=len(expected) + 3, exact=True)
    returned = [one for one in hits.ids[0].tolist() if one != (None if text else -1)]
    extra, missing = set(returned) - set(expected), set(expected) - set(returned)
    assert not extra, f"resurrected: {sorted(extra)}"
    assert not missing, f"lost: {sorted(missing)}"
    assert len(returned) == len(expected), "doubled"
    if scores:
        _check_scores(hits, returned, query, state)
    if returned:
        table = index.get(returned)
        stored = list(zip(table.column("n").to_pylist(), table.column("s").to_pylist(), strict=True))
        expected_values = [(expected[one].n, expected[one].s) for one in returned]
        assert stored == expected_values, (
            f"attributes differ: {[x for x in zip(returned, stored, expected_values, strict=True) if x[1] != x[2]]}"
        )
    where = draw.choice(tuple(CONDITIONS))
    passing = {one for one, row in expected.items() if CONDITIONS[where](row)}
    for exact in (False, True):
        ids = index.search(query, k=5, where=where, exact=exact).ids[0].tolist()
        ids = [one for one in ids if one != (None if text else -1)]
        assert len(ids) == len(set(ids)) == min(5, len(passing)), f"{len(ids)} of {len(passing)} rows where {where}"
        assert set(ids) <= passing, f"rows that do not match {where}"


def _check_scores(hits: Any, ids: list[Any], query: np.ndarray, state: State) -> None:
    if ids:
        vectors = np.stack([state.rows[one].vector for one in ids]).astype(np.float64)
        true = ((vectors - query) ** 2).sum(axis=1)
        scores = hits.scores[0, : len(ids)]
        assert np.allclose(scores, true, rtol=1e-3, atol=1e-3), "vectors differ"
