from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vsearch.cli import inputs, options
from vsearch.errors import InputError, PredicateError


def test_queries_from_a_file(tmp_path: Path) -> None:
    vectors = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.save(tmp_path / "queries.npy", vectors)
    np.testing.assert_array_equal(inputs.read_queries(str(tmp_path / "queries.npy")), vectors)
    np.testing.assert_array_equal(inputs.read_queries(str(tmp_path / "queries.npy"), 2), vectors[2:])
    with pytest.raises(InputError, match="must be below 3"):
        inputs.read_queries(str(tmp_path / "queries.npy"), 3)


def test_queries_in_json() -> None:
    assert inputs.read_queries("[1, 2.5]").tolist() == [[1, 2.5]]
    assert inputs.read_queries("[[1, 2], [3, 4]]").tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("text", ["[1, 2", "[[1], [2, 3]]", "['a']", '["a"]'])
def test_bad_json_queries(text: str) -> None:
    with pytest.raises(InputError):
        inputs.read_queries(text)


def test_ids_from_a_file_or_by_the_name_of_an_attribute(tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("a\nb\n", encoding="utf-8")
    np.save(tmp_path / "ids.npy", np.arange(3))
    assert inputs.read_ids(str(tmp_path / "ids.txt")) == ["a", "b"]
    assert inputs.read_ids(str(tmp_path / "ids.npy")).tolist() == [0, 1, 2]
    assert inputs.read_ids("sku") == "sku"


def test_truth(tmp_path: Path) -> None:
    np.array([[2, 5, 6], [2, 7, 8]], "<i4").tofile(tmp_path / "truth.ivecs")
    assert inputs.read_truth(str(tmp_path / "truth.ivecs")).tolist() == [[5, 6], [7, 8]]
    (tmp_path / "cut.ivecs").write_bytes((tmp_path / "truth.ivecs").read_bytes()[:-4])
    (tmp_path / "odd.ivecs").write_bytes(b"abc")
    (tmp_path / "text.npy").write_text("no array", encoding="utf-8")
    for name in ("cut.ivecs", "odd.ivecs", "text.npy", "missing.npy"):
        with pytest.raises(InputError):
            inputs.read_truth(str(tmp_path / name))


def test_arrays_of_objects_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError):
        inputs.read_truth(str(tmp_path / "objects.npy"))


def test_condition() -> None:
    assert options.condition(None) is None
    assert options.condition("a < 3") == "a < 3"
    assert options.condition(' {"a": 3}') == {"a": 3}
    with pytest.raises(PredicateError):
        options.condition("{a: 3}")


def test_names() -> None:
    assert options.names(None) == ()
    assert options.names(" a, b ,") == ("a", "b")


def test_only_line_feeds_end_ids(tmp_path: Path) -> None:
    names = ["a\u2028b", "c\x85", "d\x1ce", "", "f g"]
    (tmp_path / "ids.txt").write_text("\ufeff" + "\n".join(names) + "\n", encoding="utf-8")
    assert inputs.read_ids(str(tmp_path / "ids.txt")) == names
