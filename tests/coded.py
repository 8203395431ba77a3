"""Indexes with every kind of code, and the codes of all their rows, for tests of row codes."""

from __future__ import annotations

from functools import cache
from itertools import product

import numpy as np

import vsearch
from tests.indexes import METRICS, RERANKS, clustered
from vsearch.building.inputs.rows import InputArguments
from vsearch.building.pipeline import build_index
from vsearch.building.training import BuildOptions
from vsearch.search.state.row_codes import concatenate, read_row_codes
from vsearch.search.state.snapshot import open_snapshot
from vsearch.storage import open_store, read_manifest

QUANTIZERS = {
    "osq": {"quantizer": "osq"},
    "osq-staged": {"quantizer": "osq", "bits": 3},
    "osq-projected": {"quantizer": "osq-projected"},
    "pq": {"quantizer": vsearch.PQ(8)},
    "pq-nibbles": {"quantizer": vsearch.PQ(6, 16, rotation=False)},
    "osq-lloyd": {"quantizer": "osq-lloyd", "bits": 2},
}
KINDS = [
    each for each in product(QUANTIZERS, METRICS, RERANKS) if each[:2] != ("osq-lloyd", "ip")
]  # whose bounds are of distances
ROWS, DIMENSIONS, PARTITIONS = 420, 24, 7


def vectors():
    made = clustered(ROWS, DIMENSIONS)
    made[37] = made[36]
    made[100] = 0
    return made


def build(folder, rows, **options):
    """Build an index like `vsearch.build`, but without tuning, and open it."""
    store = open_store(str(folder))
    build_index(
        store,
        rows,
        arguments=InputArguments(),
        options=BuildOptions(**options),
        overwrite=False,
        tune_defaults=lambda manifest: manifest,
        progress=lambda *_: None,
    )
    return open_snapshot(store, read_manifest(store))


@cache
def built(folder, quantizer, metric, rerank):
    """An index of `vectors` with small partitions, built once per process."""
    name = f"{quantizer}-{metric}-{rerank}"
    options = {"metric": metric, "rerank": rerank, "partitions": PARTITIONS, "shards": 2}
    return build(folder / name, vectors(), **options, **QUANTIZERS[quantizer])


def all_codes(snapshot):
    """Codes of all rows, in the order of the index."""
    return concatenate([read_row_codes(snapshot.model, shard, np.arange(shard.rows)) for shard in snapshot.shards])


def assert_same(one, two, names=None):
    """Assert that two `RowCodes`, or some of their columns, are bitwise equal."""
    first, second = one.to_arrays(), two.to_arrays()
    assert first.keys() == second.keys()
    for name in first.keys() if names is None else names & first.keys():
        assert first[name].dtype == second[name].dtype, name
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)
