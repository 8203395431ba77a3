"""A progress bar as text and as HTML, with the calls that report progress, and in the kernel of a notebook."""

from __future__ import annotations

import io
import sys
import types

import pytest

import vsearch
from tests.indexes import clustered


def test_a_line_of_text_for_each_stage(tmp_path):
    file = io.StringIO()
    index = vsearch.build(clustered(300, 8), tmp_path / "i", progress=vsearch.ProgressBar(file))
    index.export(tmp_path / "rows.parquet", progress=vsearch.ProgressBar(file))
    lines = file.getvalue().split("\n")
    assert all(line.startswith("\r") for line in lines if line)
    assert "300 of 300" in lines[-2]
    assert "#" * 30 in lines[-2]
    assert len({line.split("[")[0].strip() for line in lines if line}) > 2


@pytest.mark.parametrize(("done", "total"), [(0, 0), (5, 5), (7, 5), (0, 10**12)])
def test_odd_numbers(done, total):
    file = io.StringIO()
    bar = vsearch.ProgressBar(file)
    bar("<b>stage</b>", done, total)
    assert f"{done:,} of {total:,}" in file.getvalue()
    assert "<b>" not in bar._repr_html_()


def test_updates_are_few():
    file = io.StringIO()
    bar = vsearch.ProgressBar(file)
    for done in range(100_000):
        bar("rows", done, 100_000)
    bar("rows", 100_000, 100_000)
    assert file.getvalue().count("\r") < 1000
    assert file.getvalue().endswith("100,000 of 100,000\n")


def test_a_notebook_has_one_display_that_changes(monkeypatch, capsys):
    shown = []
    handle = types.SimpleNamespace(update=lambda html: shown.append(html.data))

    def display(html, display_id):
        assert display_id
        shown.append(html.data)
        return handle

    outer, inner = types.ModuleType("IPython"), types.ModuleType("IPython.display")
    outer.get_ipython = lambda: types.SimpleNamespace(kernel=1)
    inner.HTML, inner.display = lambda data: types.SimpleNamespace(data=data), display
    monkeypatch.setitem(sys.modules, "IPython", outer)
    monkeypatch.setitem(sys.modules, "IPython.display", inner)
    bar = vsearch.ProgressBar()
    for stage in ("train", "encode"):
        for done in (0, 1):
            bar(stage, done, 1)
    assert len(shown) == 4
    assert shown[-1].count("<progress value='1' max='1'>") == 2
    assert capsys.readouterr().err == ""
