from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.storage.test_writing import PATH, sample_table
from vsearch.errors import CorruptIndexError, InputError
from vsearch.storage import SegmentFile, open_store, write_table
from vsearch.storage.files.columns import take


@pytest.mark.parametrize("column", sample_table(1).column_names)
def test_every_type_by_row(store, column):
    table = sample_table()
    entry, checksums = write_table(store, PATH, table)
    rows = np.array([399, 0, 7, 8, 8, 9, 63, 64, 200])
    taken = take(SegmentFile(store, entry, checksums), [column], rows)
    taken.validate(full=True)
    assert taken.equals(table.select([column]).take(rows))


table_of_all = sample_table()
store_of_all = open_store("memory://take")
entry_of_all, checksums_of_all = write_table(store_of_all, PATH, table_of_all)


@given(
    st.lists(st.sampled_from(table_of_all.column_names), unique=True),
    st.lists(st.integers(0, table_of_all.num_rows - 1), max_size=30),
)
def test_any_columns_and_rows(columns, rows):
    taken = take(SegmentFile(store_of_all, entry_of_all, checksums_of_all), columns, np.array(rows, np.int64))
    assert taken.select(columns).equals(table_of_all.select(columns).take(pa.array(rows, pa.int64())))


def test_reads_only_what_the_rows_need(remote):
    rows = 200_000
    table = pa.table(
        {
            "number": pa.array(np.arange(rows)),
            "text": pa.array([f"text of row {i:010d}" * 3 for i in range(rows)]),
            "tags": pa.array([[f"tag {i}", "other"] for i in range(rows)]),
        }
    )
    entry, checksums = write_table(remote, PATH, table)
    file = SegmentFile(remote, entry, checksums)
    wanted = np.array([5, 100_000, 199_999])
    assert take(file, ["number"], wanted).equals(table.select(["number"]).take(wanted))
    assert file.bytes_read <= 3 * 65536
    assert file.requests == 3
    assert take(file, ["text", "tags"], wanted).equals(table.select(["text", "tags"]).take(wanted))
    assert file.bytes_read <= 20 * 65536 < entry.bytes / 10
    before = file.requests
    take(file, ["number", "text", "tags"], wanted)
    assert file.requests == before


def test_unknown_columns_and_rows(store):
    entry, checksums = write_table(store, PATH, sample_table(10))
    file = SegmentFile(store, entry, checksums)
    with pytest.raises(InputError, match="no column 'nope'; the columns are: int, unsigned"):
        take(file, ["nope"], np.array([0]))
    for rows in ([10], [-1], [[0]]):
        with pytest.raises(InputError, match=r"0\.\.9"):
            take(file, ["int"], np.array(rows))


def altered(entry, column, part, **changes):
    """The entry with another array entry; None removes it."""
    name = f"{column}.{part}"
    kept = tuple(a for a in entry.arrays if a.name != name)
    old = next(a for a in entry.arrays if a.name == name)
    return replace(entry, arrays=kept if not changes else (*kept, replace(old, **changes)))


@pytest.mark.parametrize(
    ("column", "part", "changes"),
    [
        ("int", "values", {}),
        ("int", "values", {"dtype": "int32"}),
        ("int", "values", {"shape": (399,)}),
        ("int", "values", {"shape": (200, 2)}),
        ("int", "validity", {}),
        ("flag", "values", {"shape": (49,)}),
        ("text", "offsets", {"shape": (400,)}),
        ("text", "offsets", {"dtype": "int64", "shape": (200,)}),
        ("text", "data", {}),
        ("tags", "item_offsets", {}),
        ("tags", "item_data", {}),
        ("numbers", "item_values", {}),
        ("numbers", "item_validity", {"shape": (1,)}),
    ],
)
def test_entries_that_do_not_fit_their_column(column, part, changes):
    entry = altered(entry_of_all, column, part, **changes)
    with pytest.raises(CorruptIndexError, match=PATH):
        take(SegmentFile(store_of_all, entry, checksums_of_all), [column], np.arange(400))


@pytest.mark.parametrize("name", ["", "int", "list<list<int64>>", "timestamp[h]", "struct", "list<>", "view<string>"])
def test_types_that_are_none(name):
    columns = tuple(replace(c, type=name) if c.name == "int" else c for c in entry_of_all.columns)
    with pytest.raises(CorruptIndexError, match="column 'int'"):
        take(SegmentFile(store_of_all, replace(entry_of_all, columns=columns), checksums_of_all), ["int"], np.arange(3))


@pytest.mark.parametrize(("column", "part"), [("text", "offsets"), ("tags", "offsets"), ("tags", "item_offsets")])
@pytest.mark.parametrize("value", [-1, 2**31 - 1])
def test_offsets_that_point_elsewhere(tmp_path, column, part, value):
    """A hostile writer can make any offset pass its checksum."""
    store = open_store(tmp_path)
    entry, _ = write_table(store, PATH, table_of_all)
    at = next(a for a in entry.arrays if a.name == f"{column}.{part}").offset
    with (tmp_path / PATH).open("rb+") as file:
        file.seek(at + 4 * 20)
        file.write(int(value).to_bytes(4, "little", signed=True))
        file.seek(0)
        data = np.frombuffer(file.read(), np.uint8)
    from vsearch.storage.files.checksums import file_checksums

    crc, checksums = file_checksums(data, entry.chunk_bytes)
    with pytest.raises(CorruptIndexError, match=f"column '{column}'.*outside"):
        take(SegmentFile(store, replace(entry, crc32c=crc), checksums), [column], np.arange(400))
