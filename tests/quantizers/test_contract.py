from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import pytest

from vsearch import PQ
from vsearch.quantizers.protocol import Calibration, Encoded
from vsearch.quantizers.record import Forecast, QuantizerRecord
from vsearch.quantizers.registry import RECORDS
from vsearch.testing.quantizers import QuantizerCase, QuantizerContract

CASES = {
    "osq": QuantizerCase("osq", 1.0),
    "osq of two stages": QuantizerCase("osq", 3.0, recall=0.7),
    "osq of a quarter of a bit": QuantizerCase("osq", 0.25, recall=0.1),
    "osq of 13 dimensions": QuantizerCase("osq", 2.0, 13),
    "osq-projected": QuantizerCase("osq-projected", 1.0),
    "osq-projected of two stages": QuantizerCase("osq-projected", 3.0, recall=0.7),
    "osq-projected of a quarter of a bit": QuantizerCase("osq-projected", 0.25, recall=0.1),
    "pq by bits": QuantizerCase("pq", 1.0, 32),
    "pq of bytes": QuantizerCase(PQ(8, rotation=False), dimensions=32),
    "pq of nibbles": QuantizerCase(PQ(32, 16)),
    "pq of nibbles that are padded": QuantizerCase(PQ(13, 16, rotation=False), dimensions=39),
    "osq-lloyd": QuantizerCase("osq-lloyd", 3.0, reranked=0.5),
}


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]


class TestQuantizers(QuantizerContract):
    """All that there are."""


def test_every_quantizer_is_tried():
    assert {case.record.name for case in CASES.values()} == set(RECORDS)


@dataclass(frozen=True, eq=False)
class Grid:
    """Sixteen levels for each dimension as it is: as plain as a codec of nibble tables can be."""

    steps: np.ndarray
    calibration: Calibration

    name: ClassVar[str] = "grid"
    scan: ClassVar[str] = "nibbles"
    levels: ClassVar[np.ndarray] = np.arange(16, dtype=np.float32) - np.float32(7.5)

    @cached_property
    def rotation(self):
        return np.eye(len(self.steps), dtype=np.float32)

    @property
    def stage_bytes(self):
        return (2 * -(-len(self.steps) // 4),)

    def encode(self, residuals):
        levels = np.clip(np.rint(residuals / self.steps + 7.5), 0, 15).astype(np.uint8)
        padded = np.zeros((len(levels), 2 * self.stage_bytes[0]), np.uint8)
        padded[:, : levels.shape[1]] = levels
        codes = padded[:, ::2] | padded[:, 1::2] << np.uint8(4)
        return Encoded(codes, np.ones(len(codes), np.float32), None)

    def decode(self, codes):
        nibbles = np.stack([codes & 15, codes >> 4], axis=2).reshape(len(codes), 2 * codes.shape[1])
        return self.levels[nibbles[:, : len(self.steps)]] * self.steps

    def tables(self, query):
        tables = np.zeros((2 * self.stage_bytes[0], 16), np.float32)
        tables[: len(query)] = (query * self.steps)[:, None] * self.levels
        return tables

    def configuration(self):
        return {"dimensions": len(self.steps)}

    def arrays(self):
        return {"rotation": self.rotation, "steps": self.steps, "deviation": self.calibration.deviation}


@dataclass(frozen=True)
class GridSpecification:
    reach: float = 3.0  # standard deviations

    def check(self, dimensions):
        pass

    def forecast(self, dimensions):
        return Forecast("nibbles", 2 * -(-dimensions // 4), 2)

    def train(self, rows, seed):
        residuals = rows.residuals
        steps = (self.reach * residuals.std(axis=0) / 7.5).astype(np.float32)
        one = np.ones(1, np.float32)
        codec = Grid(steps, Calibration(one, one))
        some = residuals[np.random.default_rng(seed).permutation(len(residuals))[:500]]
        error = some[:50] @ (some - codec.decode(codec.encode(some).codes)).T
        deviation = (error / np.linalg.norm(some[:50], axis=1)[:, None]).std()
        return Grid(steps, Calibration(one, np.array([deviation], np.float32)))


def load_grid(configuration, arrays):
    d, steps, deviation = int(configuration["dimensions"]), arrays["steps"], arrays["deviation"]
    shapes = (steps.shape, deviation.shape, arrays["rotation"].shape)
    if shapes != ((d,), (1,), (d, d)) or not {steps.dtype, deviation.dtype, arrays["rotation"].dtype} == {
        np.dtype(np.float32)
    }:
        raise ValueError(f"arrays of the shapes {shapes} for {d} dimensions")
    return Grid(steps, Calibration(np.ones(1, np.float32), deviation))


GRID = QuantizerRecord("grid", lambda _, __: GridSpecification(), load_grid, options_type=GridSpecification)


NEW = {
    "by name": QuantizerCase("grid", recall=0.8),
    "by specification": QuantizerCase(GridSpecification(2.5), recall=0.8),
}


class TestANewQuantizer(QuantizerContract):
    """One of which nothing but its record knows, by name and with options of its own."""

    @pytest.fixture(params=NEW)
    def case(self, monkeypatch, request):
        monkeypatch.setitem(RECORDS, "grid", lambda: GRID)
        return NEW[request.param]
