"""Rows move from one run to another, bitwise unchanged."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from time import perf_counter

import numpy as np
import pytest

from tests.coded import KINDS, all_codes, assert_same, built
from vsearch.errors import CorruptIndexError
from vsearch.kernels.scan.blocks import BLOCK
from vsearch.search.state.partition_table import PartitionTable
from vsearch.search.state.row_codes import RowCodes, concatenate, no_rows, read_row_codes, row_columns, take
from vsearch.search.state.run_layout import lay_out_run
from vsearch.search.state.shard import Shard, view_arrays
from vsearch.search.state.workspace import pack_shard
from vsearch.storage import SegmentFile, open_store, write_arrays

MOVED = {"partitions", "codes", "factors", "first_factors", "offsets", "rerank_scales", "rerank"}


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: "-".join(map(str, kind)))
def snapshot(request, tmp_path_factory):
    return built(tmp_path_factory.getbasetemp() / "coded", *request.param)


@pytest.fixture
def open_run(tmp_path):
    """Write the arrays of a run to files and open them as a shard."""
    numbers = count()

    def run(model, arrays, first_partition):
        store, number = open_store(str(tmp_path / "runs")), next(numbers)
        files = {
            kind: SegmentFile(store, *write_arrays(store, f"{number}-{kind}.arrow", own))
            for kind, own in arrays.items()
            if own
        }
        files["partitions"].ensure_all()
        rows = int(arrays["partitions"]["rows"].sum())
        read = {name: files["partitions"].array(name) for name in files["partitions"].arrays}
        table = PartitionTable.from_arrays("run", read, rows)
        views = view_arrays(model, rows, table.blocks, files)
        native = pack_shard(first_partition, rows, table, views)
        return Shard(0, first_partition, 0, rows, table, files, views, native)

    return run


def sorted_by_partition(codes):
    return take(codes, np.argsort(codes.partitions, kind="stable"))


def test_all_rows_laid_out_again_are_the_arrays_that_were_built(snapshot):
    codes = all_codes(snapshot)
    laid = lay_out_run(snapshot.model, codes, 0, len(snapshot.model.centroids))
    for kind, arrays in laid.items():
        files = [shard.files[kind] for shard in snapshot.shards if kind in shard.files]
        assert len(files) == (2 if arrays else 0)
        for name in files[0].arrays if files else ():
            for file in files:
                file.ensure(name)
            built = np.concatenate([file.array(name) for file in files])
            assert arrays[name].dtype == built.dtype
            np.testing.assert_array_equal(arrays[name], built, err_msg=name)
        assert arrays.keys() == (files[0].arrays.keys() if files else set())


def test_scales_are_powers_of_two(snapshot):
    for shard in snapshot.shards:
        for scales in (shard.table.factor_scales, shard.table.first_factor_scales, shard.table.rerank_scales):
            assert (np.frexp(scales)[0] == 0.5).all()


def test_columns_are_those_of_the_model(snapshot):
    model, codes = snapshot.model, all_codes(snapshot)
    assert codes.to_arrays().keys() == row_columns(model).keys() == no_rows(model).to_arrays().keys()
    assert len(codes) == sum(shard.rows for shard in snapshot.shards)
    assert len(no_rows(model)) == 0
    back = RowCodes.from_arrays("delta", model, codes.to_arrays() | {"id": np.arange(3)})
    assert_same(back, codes)


def test_rows_of_several_runs_keep_every_bit_in_another(snapshot, open_run):
    """Beside rows of other scales, in partitions of others, with partitions that stay empty."""
    model, rng = snapshot.model, np.random.default_rng(5)
    first = all_codes(snapshot)
    loud = {
        name: column * np.float32(2.0**9)
        for name, column in first.to_arrays().items()
        if name in ("factors", "first_factors", "rerank_scales", "squares")
    }
    many = len(model.centroids)
    mixed = [
        take(first, rng.choice(len(first), 90, replace=False)),
        take(replace(first, **loud), rng.choice(len(first), 70, replace=False)),
    ]
    merged = sorted_by_partition(concatenate(mixed))
    merged = replace(merged, partitions=merged.partitions * np.int32(3) + np.int32(2))
    wide = replace_centroids(model, 3 * many + 2)
    run = open_run(wide, lay_out_run(wide, merged, 1, 3 * many + 1), 1)
    back = read_row_codes(wide, run, np.arange(run.rows))
    assert_same(back, merged, MOVED)
    means = [merged.squares[merged.partitions == p].mean(dtype=np.float64) for p in back.partitions]
    np.testing.assert_allclose(back.squares, means, rtol=1e-6)
    # and once more, some of them, in any order
    some = rng.permutation(run.rows)[:50]
    assert_same(read_row_codes(wide, run, some), take(back, some))
    again = sorted_by_partition(take(back, some))
    third = open_run(wide, lay_out_run(wide, again, 0, 3 * many + 2), 0)
    assert_same(read_row_codes(wide, third, np.arange(50)), again, MOVED)


def replace_centroids(model, many):
    """The model with so many centroids: layouts do not look at them."""
    return replace(model, centroids=np.zeros((many, model.dimensions), np.float32), half_centroids=None)


def test_no_rows_can_be_laid_out(snapshot):
    laid = lay_out_run(snapshot.model, no_rows(snapshot.model), 4, 3)
    table = laid["partitions"]
    assert table["rows"].tolist() == [0, 0, 0]
    assert table["radius"].tolist() == [0, 0, 0]
    for name in ("factor_scale", "first_factor_scale", "rerank_scale"):
        assert table[name].tolist() == [1, 1, 1]
    assert all(len(array) == 0 for kind in ("codes", "rows", "rerank") for array in laid[kind].values())
    assert len(read := lay_out_run(snapshot.model, no_rows(snapshot.model), 0, 0)["partitions"]["rows"]) == 0, read


@pytest.fixture(scope="module")
def staged(tmp_path_factory):
    return built(tmp_path_factory.getbasetemp() / "coded", "osq-staged", "l2", "float16")


def test_rows_of_every_partition_begin_a_block(staged):
    codes = take(all_codes(staged), np.r_[0:40, 70:75, 100:132])
    codes = replace(codes, partitions=np.repeat([1, 2, 9], [40, 5, 32]).astype(np.int32))
    laid = lay_out_run(staged.model, codes, 0, 11)
    width = staged.model.quantizer.stage_bytes[0]
    blocks = laid["codes"]["first"].reshape(-1, width, BLOCK)
    assert laid["partitions"]["rows"].tolist() == [0, 40, 5, 0, 0, 0, 0, 0, 0, 32, 0]
    assert len(blocks) == len(laid["codes"]["later"]) == 4
    for block, low, rows in ((0, 0, 32), (1, 32, 8), (2, 40, 5), (3, 45, 32)):
        np.testing.assert_array_equal(blocks[block, :, :rows].T, codes.codes[low : low + rows, :width])
        assert (blocks[block, :, rows:] == 0).all()


@pytest.mark.parametrize("partitions", [[3, 1], [0, 7], [-1, 2]])
def test_rows_elsewhere_are_refused(staged, partitions):
    codes = replace(take(all_codes(staged), np.arange(2)), partitions=np.array(partitions, np.int32))
    with pytest.raises(ValueError, match="sorted by partition"):
        lay_out_run(staged.model, codes, 0, 7)


def test_many_partitions_of_few_rows_take_little_time(staged):
    one = replace(take(all_codes(staged), np.arange(1)), partitions=np.array([9_000], np.int32))
    took = []
    for _ in range(20):
        began = perf_counter()
        lay_out_run(staged.model, one, 0, 10_000)
        took.append(perf_counter() - began)
    assert min(took) < 0.005  # a loop over them would take ten times as long


def test_float16_rows_of_unlike_sizes_share_a_partition(staged):
    """A row's power of two stays with it, so the codes themselves are not touched."""
    codes = take(all_codes(staged), np.arange(30))
    sizes = np.ldexp(np.float32(1), np.arange(30) - 15).astype(np.float32)
    codes = replace(codes, partitions=np.zeros(30, np.int32), rerank_scales=codes.rerank_scales * sizes)
    laid = lay_out_run(staged.model, codes, 0, 1)
    stored = laid["rows"]["rerank_scale"].astype(np.float32) * laid["partitions"]["rerank_scale"][0]
    np.testing.assert_array_equal(stored, codes.rerank_scales)
    np.testing.assert_array_equal(laid["rerank"]["rerank"], codes.rerank)


@pytest.mark.parametrize("size", [1e-36, 1e-18, 1.0, 1e18, 1e36])
def test_scales_of_any_magnitude(staged, open_run, size):
    codes = all_codes(staged)
    factor = np.ldexp(np.float32(1), np.int32(np.log2(size)))
    moved = replace(codes, factors=codes.factors * factor, rerank_scales=codes.rerank_scales * factor)
    run = open_run(staged.model, lay_out_run(staged.model, moved, 0, 7), 0)
    kept = read_row_codes(staged.model, run, np.arange(run.rows))
    if size > 1e-30:  # below, float32 itself has fewer bits
        assert_same(kept, moved, MOVED)
    np.testing.assert_allclose(kept.factors, moved.factors, rtol=2e-3, atol=1e-40)
    assert np.isfinite(kept.rerank_scales).all()


def damaged(arrays, name, change):
    return arrays | {name: change(arrays[name].copy())}


def first_is(value):
    def change(array):
        array.reshape(-1)[0] = value
        return array

    return change


BROKEN = [
    ("partitions", first_is(-1), "refer to unknown partitions; the index has 7"),
    ("partitions", first_is(7), "refer to unknown partitions; the index has 7"),
    ("partitions", lambda array: array.astype(np.int64), "int64"),
    ("partitions", lambda array: array[:, None], "partitions is"),
    ("partitions", lambda _: np.array(3, np.int32), "partitions is"),
    ("codes", lambda array: array[:, :-1], "codes is"),
    ("codes", lambda array: array[:-1], "codes is"),
    ("codes", lambda array: array.view(np.int8), "codes is"),
    ("factors", first_is(np.nan), "factors must be finite"),
    ("factors", first_is(-1), "factors must not be negative"),
    ("first_factors", first_is(np.inf), "first_factors must be finite"),
    ("offsets", first_is(np.nan), "offsets must be finite"),
    ("offsets", lambda array: array.astype(np.float64), "float64"),
    ("rerank_scales", first_is(-1e-9), "rerank_scales must not be negative"),
    ("squares", first_is(-1), "squares must not be negative"),
    ("squares", first_is(np.inf), "squares must be finite"),
    ("rerank", first_is(np.nan), "rerank must be finite"),
    ("rerank", lambda array: array[:, :-1], "rerank is"),
]


@pytest.mark.parametrize(("name", "change", "message"), BROKEN, ids=map(str, range(len(BROKEN))))
def test_damaged_codes_are_refused(staged, name, change, message):
    arrays = all_codes(staged).to_arrays()
    with pytest.raises(CorruptIndexError, match=message):
        RowCodes.from_arrays("delta", staged.model, damaged(arrays, name, change))


def test_missing_codes_are_refused(staged):
    arrays = all_codes(staged).to_arrays()
    for name in arrays:
        with pytest.raises(
            CorruptIndexError, match=f"column {name} of|partitions is|column partitions of|is .* expected"
        ):
            RowCodes.from_arrays("delta", staged.model, {n: a for n, a in arrays.items() if n != name})
    offsets = arrays["offsets"] - 1e6  # which may be negative
    assert (RowCodes.from_arrays("delta", staged.model, arrays | {"offsets": offsets}).offsets == offsets).all()
