from __future__ import annotations

import json

import numpy as np
import pytest

from tests.quantizers.samples import residuals
from vsearch.errors import CorruptIndexError, FormatVersionError
from vsearch.quantizers.osq import train_osq
from vsearch.quantizers.registry import load_quantizer


def parts(bits=2.0, d=48):
    codec = train_osq(residuals(300, d), bits)
    return codec, codec.configuration(), dict(codec.arrays())


@pytest.mark.parametrize("bits", [0.25, 1.0, 3.3, 8.0])
@pytest.mark.parametrize("d", [1, 48])
def test_round_trip(bits, d):
    codec, configuration, arrays = parts(bits, d)
    loaded = load_quantizer(codec.name, json.loads(json.dumps(configuration)), arrays)
    rows = residuals(50, d, 7) @ codec.rotation.T
    for one, two in ((codec.encode(rows), loaded.encode(rows)),):
        np.testing.assert_array_equal(one.codes, two.codes)
        np.testing.assert_array_equal(one.factors, two.factors)
    np.testing.assert_array_equal(codec.tables(rows[0]), loaded.tables(rows[0]))
    assert loaded.stage_bytes == codec.stage_bytes
    assert loaded.name == codec.name
    np.testing.assert_array_equal(loaded.calibration.deviation, codec.calibration.deviation)


def test_a_later_quantizer_needs_a_later_version():
    with pytest.raises(FormatVersionError, match=r"'osq-2'.*upgrade"):
        load_quantizer("osq-2", {}, {})


@pytest.mark.parametrize(
    "configuration", [{}, {"bits": None}, {"bits": "many"}, {"bits": float("nan")}, {"bits": 99}, {"bits": [1]}]
)
def test_hostile_configuration(configuration):
    _, _, arrays = parts()
    with pytest.raises(CorruptIndexError, match="model"):
        load_quantizer("osq", configuration, arrays)


HOSTILE = {
    "no rotation": lambda a: a.pop("rotation"),
    "no deltas": lambda a: a.pop("deltas"),
    "no calibration": lambda a: a.pop("calibration_scale"),
    "flat rotation": lambda a: a.update(rotation=a["rotation"].ravel()),
    "rotation not square": lambda a: a.update(rotation=a["rotation"][:-1]),
    "more deltas than dimensions": lambda a: a.update(deltas=np.ones(99, np.float32)),
    "more deltas and bits than dimensions": lambda a: a.update(
        deltas=np.ones(99, np.float32), dimension_bits=np.ones(99, np.int32)
    ),
    "fewer deltas than bits": lambda a: a.update(deltas=a["deltas"][:-1]),
    "two-dimensional deltas": lambda a: a.update(deltas=a["deltas"][:, None]),
    "delta zero": lambda a: a.update(deltas=a["deltas"] * 0),
    "delta negative": lambda a: a.update(deltas=-a["deltas"]),
    "delta not a number": lambda a: a.update(deltas=a["deltas"] * np.float32(np.nan)),
    "rotation infinite": lambda a: a.update(rotation=a["rotation"] + np.float32(np.inf)),
    "fewer bits than deltas": lambda a: a.update(dimension_bits=a["dimension_bits"][:-1]),
    "bits ascend": lambda a: a.update(dimension_bits=np.sort(a["dimension_bits"])),
    "nine bits": lambda a: a.update(dimension_bits=np.full_like(a["dimension_bits"], 9)),
    "no bits": lambda a: a.update(dimension_bits=np.zeros_like(a["dimension_bits"])),
    "negative bits": lambda a: a.update(dimension_bits=-a["dimension_bits"]),
    "bits beyond int32": lambda a: a.update(dimension_bits=a["dimension_bits"].astype(np.int64) + (1 << 32)),
    "text for bits": lambda a: a.update(dimension_bits=np.array(["x"] * len(a["dimension_bits"]))),
    "one stage of calibration": lambda a: a.update(calibration_deviation=a["calibration_deviation"][:1]),
    "calibration of another shape": lambda a: a.update(calibration_scale=np.ones((2, 2), np.float32)),
    "deviation negative": lambda a: a.update(calibration_deviation=-np.ones(2, np.float32)),
    "scale zero": lambda a: a.update(calibration_scale=np.zeros(2, np.float32)),
}


@pytest.mark.parametrize("damage", HOSTILE)
def test_hostile_arrays(damage):
    _, configuration, arrays = parts(3.0)
    assert len(np.unique(arrays["dimension_bits"])) > 1
    HOSTILE[damage](arrays)
    with pytest.raises(CorruptIndexError, match="model"):
        load_quantizer("osq", configuration, arrays)
