"""A small leg: rows whose number is near that of the query, by the attribute that a build names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np

from vsearch.checks import is_number
from vsearch.errors import InputError
from vsearch.legs.protocol import Leg, LegRanking, PackedQueries
from vsearch.storage.files.plain_columns import read_column
from vsearch.storage.snapshots.kinds import ATTRIBUTES, leg_prefix

REACH = 10.0
"""Rows that are farther away do not match."""

KIND = f"{leg_prefix('near')}values"


def value_of(query: bytes) -> float:
    try:
        value = msgspec.json.decode(query, type=float)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(f"the message is inconsistent: {error}") from None
    return value


class NearWriter:
    """Writes the numbers of a shard; see `vsearch.building.shards.PartWriter`."""

    name, kinds = "near", frozenset((KIND,))

    def __init__(self, field):
        self.field = field

    def model(self):
        return {}

    def check(self, attributes):
        if attributes is None or self.field not in attributes.names:
            raise InputError(f"near must name an attribute, got {self.field!r}")

    def entry(self):
        return {"field": self.field}

    def write_shard(self, rows, arrays, attributes):
        for kind, of_kind in LEG.parts(self.entry(), attributes, len(rows)):
            arrays(kind, of_kind)


class NearLeg(Leg[float]):
    name = "near"
    query = "number"
    probe = b"0"
    absent = "this index has no numbers to be near to: build it with legs={'near': attribute}"
    in_use = "rows are searched by its numbers"

    def read(self, queries: Any, argument: str) -> list[bytes]:
        numbers = queries if isinstance(queries, list | tuple) else [queries]
        if not all(is_number(number) and np.isfinite(number) for number in numbers):
            raise InputError(f"{argument} must be a finite number or a list of these, got {queries!r:.100}")
        return [msgspec.json.encode(float(number)) for number in numbers]

    def plan(self, snapshot, queries, stats, deadline=None) -> Iterator[float]:
        return map(value_of, queries)

    def scan(self, snapshot, planned, k, allowed, stats, deadline=None):
        rows, scores = [np.empty(0, np.int64)], [np.empty(0)]
        for number, mask in sorted(allowed.items()):
            run = snapshot.shards[number]
            near = REACH - np.abs(self._values(snapshot, run) - planned)
            matching = near > 0  # False for rows without a number
            if mask is not None:
                matching &= np.unpackbits(mask.view(np.uint8), count=run.rows, bitorder="little").astype(bool)
            stats.rows_scanned += run.rows
            rows.append(run.first_row + np.flatnonzero(matching))
            scores.append(near[matching])
        row, score = np.concatenate(rows), np.concatenate(scores)
        best = np.lexsort((row, -score))[:k]
        return LegRanking(row[best], score[best].astype(np.float32), score[best])

    def pack(self, snapshot, planned):
        return PackedQueries(tuple(map(msgspec.json.encode, planned)))

    def unpack(self, snapshot, packed):
        if packed.shared:
            raise InputError("the message is inconsistent: numbers share nothing")
        return list(map(value_of, packed.queries))

    def fields(self, entry):
        return [entry["field"]]

    def writer(self, argument):
        return NearWriter(argument)

    def rewriter(self, entry):
        return NearWriter(entry["field"])

    def parts(self, entry, attributes, rows):
        column = attributes.column(entry["field"]).cast("float64")
        yield KIND, {"value": column.to_numpy(zero_copy_only=False)}

    def _values(self, snapshot, run):
        """The numbers of a run: stored, or from the attribute if its rows were not merged yet."""
        file = run.files.get(KIND)
        if file is not None:
            file.ensure("value")
            return file.array("value")
        column = read_column(run.files[ATTRIBUTES], self.entry(snapshot.manifest)["field"], np.arange(run.rows))
        values = np.frombuffer(column.values, "<i8").astype(np.float64)
        if column.valid is not None:
            values[~np.asarray(column.valid, bool)] = np.nan
        return values


LEG = NearLeg()
