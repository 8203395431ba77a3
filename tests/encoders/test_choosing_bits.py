"""Bits chosen by measured sensitivity: the quality is kept, at nearly the fewest bytes possible."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest

from tests.encoders.models import TEXTS, sentences, tensors, write_model
from vsearch.encoders import CompressedEncoder, compress, load
from vsearch.encoders.choosing_bits import CHOICES, _after, _Candidates
from vsearch.encoders.float_model import read_float_model
from vsearch.encoders.quantizing import TABLE, tokenize, uniform_bits
from vsearch.errors import InputError

CALIBRATION = sentences(48, 9)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model in which one product does next to nothing, and one much more than the others."""
    weights = tensors()
    weights["encoder.layer.1.output.dense.weight"] *= 1e-3
    weights["encoder.layer.0.output.dense.weight"] *= 4
    return write_model(tmp_path_factory.mktemp("model"), weights)


@pytest.mark.parametrize("quality", [0.9, 0.98])
def test_the_quality_is_kept_in_fewer_bytes(folder: Path, tmp_path: Path, quality: float) -> None:
    made = compress(folder, CALIBRATION, bits="auto", quality=quality)
    report = made.report
    near = (load(folder).encode(CALIBRATION) * made.encode(CALIBRATION)).sum(axis=1)
    assert quality <= report.cosine == pytest.approx(near.mean(), abs=1e-4)
    eight = compress(folder, CALIBRATION[:8]).report
    assert report.total_bytes < 0.8 * eight.total_bytes
    assert report.product_bits["1.down"] == 2
    assert len(report.product_bits) == len(report.sensitivity) - 1 == 8
    assert report.weight_bits == pytest.approx(np.mean([*report.product_bits.values()]), abs=1)
    assert min(report.sensitivity, key=lambda part: report.sensitivity[part]["2"]) != "1.down"
    made.save(tmp_path)
    again = load(tmp_path)
    assert isinstance(again, CompressedEncoder)
    assert again.report == report
    assert again.model.product_bits == report.product_bits
    np.testing.assert_array_equal(again.encode(TEXTS), made.encode(TEXTS))


def test_more_quality_takes_more_bytes(folder: Path) -> None:
    sizes = [compress(folder, CALIBRATION, bits="auto", quality=least).report.total_bytes for least in (0.8, 0.99)]
    assert sizes[0] < sizes[1]


def test_one_part_may_be_given(folder: Path) -> None:
    report = compress(folder, CALIBRATION, bits={"weights": "auto", "table": 4}, quality=0.9).report
    assert report.table_bits == 4
    assert TABLE not in report.sensitivity
    report = compress(folder, CALIBRATION, bits={"weights": 8, "table": "auto"}, quality=0.9).report
    assert {*report.product_bits.values()} == {8}
    assert [*report.sensitivity] == [TABLE]
    assert report.table_bits != 8


def test_steps_are_near_the_cheapest_of_all_mixes(tmp_path: Path) -> None:
    """Every mix of the bits of four products, measured as the steps are."""
    model = read_float_model(write_model(tmp_path, tensors(layers=1)))
    texts = tokenize(model, CALIBRATION[:12])
    start = uniform_bits(model, 8, 8)
    free = [part for part in start if part != TABLE]
    candidates = _Candidates(model, texts, model.forward(texts), start, free)

    def size(bits: dict) -> int:
        return sum(candidates._bytes(part, bits[part]) for part in free)

    path = [_after(start, candidates.path()[:count]) for count in range(len(candidates.path()) + 1)]
    mixes = [start | dict(zip(free, bits, strict=True)) for bits in product(CHOICES, repeat=4)]
    measured = [(candidates.measure(mix), size(mix)) for mix in mixes]
    for quality in (0.95, 0.98):
        best = min(size for near, size in measured if near >= quality)
        ours = min(size(bits) for bits in path if candidates.measure(bits) >= quality)
        assert best <= ours <= 1.15 * best


def test_what_is_refused(folder: Path) -> None:
    for options, message in [
        ({"quality": 0.9}, "quality requires bits='auto'"),
        ({"bits": "auto", "quality": 1}, "between 0 and 1, got 1"),
        ({"bits": "auto", "quality": True}, "between 0 and 1, got True"),
        ({"bits": "auto", "quality": 0.99999}, "quality must be at most 0.99"),
        ({"bits": "automatic"}, "ternary, auto, got 'automatic'"),
        ({"bits": 4.0}, "got 4.0"),
    ]:
        with pytest.raises(InputError, match=message):
            compress(folder, CALIBRATION, **options)
