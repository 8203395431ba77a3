"""Stems are of one release of snowballstemmer for the whole life of an index."""

from __future__ import annotations

import sys
import types

import pytest

import vsearch
from tests.text.conftest import make_rows, table, vectors
from vsearch import FormatVersionError
from vsearch.text import columns, stemming
from vsearch.text.columns import TextColumn


def test_the_release_is_recorded_and_checked(tmp_path, monkeypatch):
    url = tmp_path / "i"
    index = vsearch.build(vectors(60), url, table(make_rows(60, 1)), text={"body": TextColumn(language="english")})
    assert index.snapshot.manifest.text.columns[0].analyzer.stemmer == stemming.stemmer_version()
    assert (index.search_text("ak", 3).ids >= 0).any()
    major, minor, *_ = stemming.stemmer_version().split(".")
    monkeypatch.setattr(columns, "stemmer_version", lambda: f"{major}.{minor}.99")
    assert (vsearch.open(url).search_text("ak", 3).ids >= 0).any()
    monkeypatch.setattr(columns, "stemmer_version", lambda: f"{major}.{int(minor) + 1}.0")
    other = vsearch.open(url)
    with pytest.raises(FormatVersionError, match=rf"install snowballstemmer=={major}\.{minor}\.\*"):
        other.search_text("ak")
    other.drop_text("body")  # as the message says
    other.add_text("body", TextColumn(language="english"))
    assert (other.search_text("ak", 3).ids >= 0).any()


def test_stems_do_not_depend_on_pystemmer(monkeypatch):
    """Which snowballstemmer prefers if it is installed, in whatever version."""
    fake = types.ModuleType("Stemmer")
    fake.algorithms, fake.Stemmer = lambda: ["english"], lambda _language: pytest.fail("PyStemmer was used")
    monkeypatch.setitem(sys.modules, "Stemmer", fake)
    for name in [name for name in sys.modules if name.split(".")[0] == "snowballstemmer"]:
        monkeypatch.delitem(sys.modules, name)
    assert stemming.stemmer("english")("running") == "run"
    assert "french" in stemming.stemmed_languages()


def test_every_language_stems():
    for language in stemming.stemmed_languages():
        assert stemming.stemmer(language)("a")
