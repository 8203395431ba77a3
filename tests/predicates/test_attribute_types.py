from __future__ import annotations

import datetime as dt
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from vsearch.predicates import AttributeType
from vsearch.predicates.types.numbers import own_keys, whole_cuts
from vsearch.predicates.types.record import AttributeRecord, OrderedKeys
from vsearch.predicates.types.table import TYPES
from vsearch.storage.files.column_types import FORMS, ColumnForm
from vsearch.testing.attributes import AttributeTypeCase, AttributeTypeContract

FIRST = dt.datetime(1969, 12, 31, 23, tzinfo=dt.UTC)
MANY = range(-150, 170)


def shortest(kind, values):
    """Floats as they are written: the shortest decimals that name what the type can hold."""
    return sorted({float(str(kind(value))) for value in values})


def of(name, arrow, values, foreign):
    return AttributeTypeCase(TYPES[name], arrow, list(values), foreign)


CASES = [
    of("bool", pa.bool_(), [False, True], 1),
    of("int64", pa.int64(), [-(2**63), *(10**15 * i for i in MANY), 2**63 - 1], "1"),
    of("int64", pa.int16(), [100 * i for i in MANY], "1"),
    of("uint64", pa.uint64(), [*range(300), 2**63, 2**64 - 1], "1"),
    of("float16", pa.float16(), shortest(np.float16, (i / 10 for i in MANY)), "1"),
    of("float32", pa.float32(), shortest(np.float32, (i / 10 for i in MANY)), "1"),
    of("float64", pa.float64(), [i / 10 for i in MANY], "1"),
    of("decimal", pa.decimal128(9, 2), [Decimal(i).scaleb(-2) for i in MANY], "1"),
    of("string", pa.string(), sorted(f"w{i}" for i in MANY), 1),
    of("string", pa.large_string(), ["", "é", "日本"], 1),
    of("timestamp", pa.timestamp("us", "UTC"), [FIRST + dt.timedelta(seconds=i) for i in range(300)], 1),
    of("timestamp", pa.timestamp("s", "UTC"), [FIRST + dt.timedelta(hours=i) for i in range(3)], 1),
    of("timestamp[ns]", pa.timestamp("ns", "UTC"), [pd.Timestamp(1000 * i + 7, tz="UTC") for i in MANY], 1),
    of("date", pa.date32(), [dt.date(1969, 12, 1) + dt.timedelta(days=i) for i in range(300)], 1),
    of("list<string>", pa.list_(pa.string()), [["a"], ["a", "b"], [], [None, "c"], ["é", "é"]], 1),
    of("list<int64>", pa.list_(pa.int8()), [[1], [1, 2], [], [None, -3], [4, 4]], "1"),
    *(
        of(f"list<float{bits}>", pa.list_(kind), [[0.1], [0.1, 2.0], [], [None, -3.5], [4.0, 4.0]], "1")
        for bits, kind in ((16, pa.float16()), (32, pa.float32()), (64, pa.float64()))
    ),
]


@pytest.fixture(params=CASES, ids=lambda case: f"{case.record.name} of {case.arrow}")
def case(request):
    return request.param


class TestAttributeTypes(AttributeTypeContract):
    """All types that there are."""


def test_every_type_is_tried():
    assert {case.record.name for case in CASES} == set(TYPES) == {str(name) for name in AttributeType}


def seconds(array):
    return array.cast(pa.int32())


TIME = AttributeRecord(
    "time",
    "times of day",
    pa.types.is_time32,
    lambda _: pa.time32("s"),
    OrderedKeys(whole_cuts(), own_keys, seconds),
    column="time32[s]",
)
TIME_FORM = ColumnForm(
    r"time32\[(s)\]",
    "fixed",
    "int32",
    pa.time32,
    lambda arrow: "time32[s]" if arrow == pa.time32("s") else None,
)


NEW = AttributeTypeCase(
    TIME,
    pa.time32("s"),
    [dt.time(i // 60, i % 60, 7) for i in range(0, 24 * 60, 4)],
    "noon",
    lambda time: time.hour * 3600 + time.minute * 60 + time.second,
)


class TestANewType(AttributeTypeContract):
    """A type of which nothing but these two records knows."""

    @pytest.fixture
    def case(self, monkeypatch):
        monkeypatch.setitem(TYPES, "time", TIME)
        monkeypatch.setitem(FORMS, "time", TIME_FORM)
        return NEW
