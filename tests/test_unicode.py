"""Texts that cannot be stored, since a half of a surrogate pair is no character: refused by name wherever they come in."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import vsearch

HALF = "\ud800"
VECTORS = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)


def python_strings(*texts):
    return pd.array(list(texts), dtype=pd.StringDtype("python"))


@pytest.mark.parametrize(
    "attributes",
    [
        pd.DataFrame({"s": python_strings("a", "b", HALF)}),
        pd.DataFrame({"s": pd.Series(["a", "b", HALF], dtype=object)}),
        pd.DataFrame([[1], [2], [3]], columns=pd.Index([HALF], dtype=object)),
        {"s": ["a", "b", HALF]},
        {HALF: [1, 2, 3]},
    ],
    ids=["strings", "objects", "a name in a frame", "a list", "a name in a dict"],
)
def test_builds_refuse_them(tmp_path, attributes):
    with pytest.raises(vsearch.InputError, match=r"surrogates|Unicode"):
        vsearch.build(VECTORS, tmp_path / "index", attributes=attributes)
    assert not (tmp_path / "index").exists()


def test_ids_refuse_them(tmp_path):
    frame = pd.DataFrame({"e": list(VECTORS), "k": python_strings("a", "b", HALF)})
    with pytest.raises(vsearch.InputError, match=r"'k' has text that is not valid Unicode"):
        vsearch.build(frame, tmp_path / "index", vectors="e", id="k")


@pytest.mark.parametrize("use", [vsearch.open, lambda url: vsearch.build(VECTORS, url), vsearch.verify])
def test_urls_refuse_them(tmp_path, use):
    with pytest.raises(vsearch.InputError, match="must be valid Unicode"):
        use(f"{tmp_path}/{HALF}")


def test_changes_refuse_them(tmp_path):
    index = vsearch.build(VECTORS, tmp_path / "index", {"s": ["x", "y", "z"]}, ["a", "b", "c"])
    changes = [
        lambda: index.delete([HALF]),
        lambda: index.delete(["a", HALF]),
        lambda: index.update({"s": HALF}, ids=["a"]),
        lambda: index.update({"s": ["ok", HALF]}, ids=["a", "b"]),
        lambda: index.update({"s": "ok"}, ids=[HALF]),
        lambda: index.update({"s": HALF}, where="true"),
        lambda: index.add_column("t", HALF),
        lambda: index.append(VECTORS[:1], {"s": [HALF]}, ["new"]),
        lambda: index.append(VECTORS[:1], {"s": ["ok"]}, [HALF]),
        lambda: index.vectors([HALF]),
    ]
    for change in changes:
        with pytest.raises(vsearch.InputError):
            change()
    assert index.info()["snapshot"] == 1
    assert index.get([HALF], missing="skip").num_rows == 0
