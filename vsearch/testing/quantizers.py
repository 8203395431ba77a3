"""Tests for every quantizer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from vsearch.api import build_and_open
from vsearch.building.training import BuildOptions
from vsearch.errors import CorruptIndexError
from vsearch.forking import cached_property
from vsearch.quantizers.protocol import Quantizer
from vsearch.quantizers.record import QuantizerRecord, Specification, TrainingRows
from vsearch.quantizers.registry import RECORDS, find_quantizer, load_quantizer
from vsearch.testing.building import build_untuned

Array = npt.NDArray[np.float32]

ROWS, QUERIES = 2000, 40


@dataclass(frozen=True, eq=False)
class QuantizerCase:
    """A quantizer to test: the arguments for `vsearch.build`, and the dimensions of the vectors.

    Attributes
    ----------
    quantizer : str or Specification
        Of a quantizer of `vsearch.quantizers.registry.RECORDS`.
    bits : float
    dimensions : int
    recall, reranked : float
        Lower limits of recall@10 with these codes alone, and after exact reranking.
    """

    quantizer: str | Specification
    bits: float = 1.0
    dimensions: int = 64
    recall: float = 0.3
    reranked: float = 0.85

    @cached_property
    def record(self) -> QuantizerRecord:
        record = find_quantizer(self.quantizer)
        assert record is not None, f"{self.quantizer!r} is not registered"
        return record

    @cached_property
    def specification(self) -> Specification:
        return BuildOptions("l2", self.quantizer, self.bits).specification(self.dimensions)

    @cached_property
    def vectors(self) -> Array:
        """Rows with decaying variances, mixed by a rotation: float32 (n, d)."""
        return self.draw(ROWS, 0)

    @cached_property
    def codec(self) -> Quantizer:
        return self.train()

    @cached_property
    def rotated(self) -> Array:
        return np.ascontiguousarray(self.vectors @ self.codec.rotation.T)

    @cached_property
    def queries(self) -> Array:
        """Rotated like the codes."""
        return np.ascontiguousarray(self.draw(QUERIES, 1) @ self.codec.rotation.T)

    def draw(self, rows: int, seed: int) -> Array:
        """Vectors from the same distribution."""
        d = self.dimensions
        basis = np.linalg.qr(np.random.default_rng(99).standard_normal((d, d)))[0]
        drawn = np.random.default_rng(seed).standard_normal((rows, d)) * 0.97 ** np.arange(d)
        return (drawn @ basis).astype(np.float32)

    def train(self) -> Quantizer:
        """Train a new codec, on one partition around the origin."""
        return self.specification.train(TrainingRows(self.vectors, self.vectors), 3)


class QuantizerContract:
    """Tests of a fixture ``case``, a `QuantizerCase`; return the same object every time, so that one codec serves all tests."""

    def test_the_record_is_found(self, case: QuantizerCase) -> None:
        record = case.record
        assert RECORDS[record.name]() is record
        assert find_quantizer(record.name) is record
        assert case.codec.name == record.name
        assert record.refusal or set(record.metrics) == {"cosine", "ip", "l2"}
        for bits in (0.25, 1.0, 8.0):
            record.from_bits(bits, case.dimensions).check(case.dimensions)

    def test_the_rotation_is_one(self, case: QuantizerCase) -> None:
        rotation = case.codec.rotation
        assert (rotation.dtype, rotation.shape) == (np.dtype(np.float32), (case.dimensions, case.dimensions))
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(case.dimensions), atol=1e-4)

    @pytest.mark.parametrize("rows", [0, 1, 33, ROWS])
    def test_shapes(self, case: QuantizerCase, rows: int) -> None:
        codec = case.codec
        stages, cells = len(codec.stage_bytes), codec.scan == "cells"
        encoded = codec.encode(case.rotated[:rows])
        assert (encoded.codes.dtype, encoded.codes.shape) == (np.dtype(np.uint8), (rows, sum(codec.stage_bytes)))
        assert (encoded.factors.dtype, encoded.factors.shape) == (np.dtype(np.float32), (0 if cells else rows,))
        assert (encoded.first_factors is not None) == (stages == 2 and not cells)
        if encoded.first_factors is not None:
            assert encoded.first_factors.shape == (rows,)
        for factors in (encoded.factors, encoded.first_factors):
            assert factors is None or (np.isfinite(factors).all() and (factors >= 0).all())
        decoded = codec.decode(encoded.codes)
        assert (decoded.dtype, decoded.shape) == (np.dtype(np.float32), (rows, case.dimensions))
        assert np.isfinite(decoded).all()

    def test_codes_fit_their_scan(self, case: QuantizerCase) -> None:
        codec, tables = case.codec, case.codec.tables(case.queries[0])
        assert len(codec.stage_bytes) in (1, 2)
        assert min(codec.stage_bytes) > 0
        assert tables.dtype == np.float32
        if codec.scan == "nibbles":
            assert all(size % 2 == 0 for size in codec.stage_bytes)
            assert tables.shape == (2 * sum(codec.stage_bytes), 16)
        elif codec.scan == "bytes":
            assert len(codec.stage_bytes) == 1
            assert tables.shape == (codec.stage_bytes[0], 256)
        else:
            assert codec.scan == "cells"
            assert tables.ndim == 1
            assert (tables >= 0).all()

    def test_the_same_every_time(self, case: QuantizerCase) -> None:
        again = case.train()
        assert again.configuration() == case.codec.configuration()
        for name, array in case.codec.arrays().items():
            np.testing.assert_array_equal(again.arrays()[name], array, name)
        all_codes, part = case.codec.encode(case.rotated), case.codec.encode(case.rotated[7:40])
        np.testing.assert_array_equal(part.codes, all_codes.codes[7:40])
        if len(all_codes.factors):
            np.testing.assert_allclose(part.factors, all_codes.factors[7:40], rtol=1e-4)

    def test_it_is_made_again(self, case: QuantizerCase) -> None:
        again = load_quantizer(case.record.name, *stored(case.codec))
        assert_same(case, again)
        assert (again.name, again.scan, again.stage_bytes) == (case.codec.name, case.codec.scan, case.codec.stage_bytes)
        assert again.configuration() == case.codec.configuration()
        np.testing.assert_array_equal(again.calibration.scale, case.codec.calibration.scale)
        np.testing.assert_array_equal(again.calibration.deviation, case.codec.calibration.deviation)
        np.testing.assert_array_equal(again.rotation, case.codec.rotation)

    def test_tables_sum_to_products_with_what_is_decoded(self, case: QuantizerCase) -> None:
        if case.codec.scan == "cells":
            pytest.skip("tables of cells bound distances")
        codes = case.codec.encode(case.rotated[:200]).codes
        products = case.queries @ case.codec.decode(codes).T
        for query, expected in zip(case.queries, products, strict=True):
            np.testing.assert_allclose(
                table_sums(case.codec, query, codes), expected, atol=1e-4 * np.abs(products).max()
            )

    def test_the_error_is_what_calibration_says(self, case: QuantizerCase) -> None:
        calibration, stages = case.codec.calibration, (len(case.codec.stage_bytes),)
        assert calibration.scale.shape == calibration.deviation.shape == stages
        assert calibration.scale.dtype == calibration.deviation.dtype == np.float32
        assert (calibration.scale > 0).all()
        assert (calibration.deviation >= 0).all()
        if case.codec.scan == "cells":
            return
        encoded = case.codec.encode(case.rotated)
        true = case.queries @ case.rotated.T
        estimate = (case.queries @ case.codec.decode(encoded.codes).T) * encoded.factors * calibration.scale[-1]
        unit = encoded.factors * np.linalg.norm(case.queries, axis=1)[:, None]
        usable = unit > 0
        deviation = float(np.std((true - estimate)[usable] / unit[usable]))
        assert 0.5 * deviation < float(calibration.deviation[-1]) < 2 * deviation
        assert np.sum(estimate * true) / np.sum(true * true) == pytest.approx(1, abs=0.3)

    def test_sizes_are_as_forecast(self, case: QuantizerCase) -> None:
        """Within ten percent; planes may be rounded up, and a model may have some numbers per dimension."""
        forecast, codec = case.specification.forecast(case.dimensions), case.codec
        assert forecast.scan == codec.scan
        assert abs(forecast.code_bytes - sum(codec.stage_bytes)) <= 16 + 0.1 * forecast.code_bytes
        assert forecast.factor_bytes == (0 if codec.scan == "cells" else 2 * len(codec.stage_bytes))
        stored_bytes = sum(np.asarray(array).nbytes for array in codec.arrays().values())
        floats = (stored_bytes - codec.rotation.nbytes) / 4
        assert abs(forecast.model_floats - floats) <= 32 * case.dimensions + 0.1 * abs(floats)

    @pytest.mark.parametrize("value", ["absent", None, "many", float("nan"), float("inf"), -1, [1], {}])
    def test_a_hostile_configuration_is_refused(self, case: QuantizerCase, value: Any) -> None:
        """A damaged codec is refused, or the damage has no effect."""
        for key in case.codec.configuration():
            configuration, arrays = stored(case.codec)
            if value == "absent":
                del configuration[key]
            else:
                configuration[key] = value
            try:
                loaded = load_quantizer(case.record.name, configuration, arrays)
            except CorruptIndexError:
                continue
            assert_same(case, loaded)

    @pytest.mark.parametrize("damage", ["absent", "shorter", "empty", "deeper", "scalar", "text", "infinite"])
    def test_hostile_arrays_are_refused(self, case: QuantizerCase, damage: str) -> None:
        for name in case.codec.arrays():
            configuration, arrays = stored(case.codec)
            damaged = DAMAGES[damage](arrays.pop(name))
            if damaged is not None:
                arrays[name] = damaged
            with pytest.raises(CorruptIndexError):
                load_quantizer(case.record.name, configuration, arrays)

    def test_an_index_is_built_searched_and_opened_again(self, case: QuantizerCase, tmp_path: Path) -> None:
        queries = case.draw(QUERIES, 1)
        squares = ((queries[:, None, :] - case.vectors) ** 2).sum(axis=2)
        nearest = np.argsort(squares, axis=1)[:, :10].tolist()
        for rerank, least in (("float32", case.reranked), (None, case.recall)):
            options = BuildOptions("l2", case.quantizer, case.bits, rerank, partitions=6, shards=2)
            index = build_untuned(str(tmp_path / f"index-{rerank}"), case.vectors, options)
            assert index.info()["quantizer"] == case.record.name
            hits = index.search(queries, k=10, nprobe=6)
            recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(hits.ids.tolist(), nearest, strict=True)])
            assert recall > least
            again = build_and_open.open(index.info()["url"]).search(queries, k=10, nprobe=6)
            assert again.ids.tolist() == hits.ids.tolist()
            assert again.scores.tolist() == hits.scores.tolist()


def stored(codec: Quantizer) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """A codec as a reader gets it: the configuration went through JSON, the arrays are copies."""
    configuration = msgspec.json.decode(msgspec.json.encode(codec.configuration()))
    return configuration, {name: np.array(array) for name, array in codec.arrays().items()}


def assert_same(case: QuantizerCase, codec: Quantizer) -> None:
    """Assert that a codec behaves exactly like that of the case."""
    rows, query = case.rotated[:50], case.queries[0]
    codes, again = case.codec.encode(rows), codec.encode(rows)
    np.testing.assert_array_equal(codes.codes, again.codes)
    np.testing.assert_array_equal(codes.factors, again.factors)
    np.testing.assert_array_equal(case.codec.decode(codes.codes), codec.decode(codes.codes))
    np.testing.assert_array_equal(case.codec.tables(query), codec.tables(query))
    assert case.codec.stage_bytes == codec.stage_bytes


def table_sums(codec: Quantizer, query: Array, codes: npt.NDArray[np.uint8]) -> Array:
    """Table sums of a query for some codes, float32 (n,)."""
    tables = codec.tables(query)
    nibbles = np.stack([codes & 15, codes >> 4], axis=2).reshape(len(codes), 2 * codes.shape[1])
    numbers = codes if codec.scan == "bytes" else nibbles
    return np.asarray(tables[np.arange(len(tables)), numbers].sum(axis=1))


def _infinite(array: npt.NDArray[Any]) -> npt.NDArray[Any] | None:
    return np.full(array.shape, np.inf, array.dtype) if array.dtype.kind == "f" else None


#: Mutations of an array; None removes it.
DAMAGES: dict[str, Callable[[npt.NDArray[Any]], npt.NDArray[Any] | None]] = {
    "absent": lambda _: None,
    "shorter": lambda array: array[:-1],
    "empty": lambda array: array[:0],
    "deeper": lambda array: array[None],
    "scalar": lambda _: np.array(1, np.float32),
    "text": lambda array: np.full(array.shape, "x"),
    "infinite": _infinite,
}
