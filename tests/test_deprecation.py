from __future__ import annotations

import importlib
import re
import subprocess
import sys
import types
import warnings
from pathlib import Path

import pytest

import vsearch
from vsearch._deprecation import deprecated_names, removed_in
from vsearch._lazy import lazy_names
from vsearch._version import __version__

ROOT = Path(__file__).parents[1]


def module_with(getattr_) -> types.ModuleType:
    module = types.ModuleType("old.place")
    module.__getattr__ = getattr_
    return module


@pytest.fixture
def old() -> types.ModuleType:
    return module_with(deprecated_names("old.place", {"Hits": "vsearch.api.hits.Hits"}, since="3.7"))


def test_an_old_name_is_the_new_one_and_the_warning_says_all_that_is_needed(old):
    with pytest.warns(vsearch.VsearchDeprecationWarning) as caught:
        assert old.Hits is vsearch.Hits
    (warning,) = caught
    assert str(warning.message) == (
        "old.place.Hits is deprecated since 3.7 and may be removed in 3.9: use vsearch.api.hits.Hits"
    )
    assert warning.filename == __file__  # who uses it is named, not the helper


def test_each_line_warns_once(old):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            old.Hits  # noqa: B018
        old.Hits  # noqa: B018
    assert len(caught) == 2


def test_it_is_shown_and_hidden_like_other_warnings_of_either_kind(old):
    for kind in (DeprecationWarning, vsearch.VsearchWarning):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", kind)
            assert old.Hits is vsearch.Hits


def test_other_names_are_looked_up_elsewhere_or_missing(old):
    with pytest.raises(AttributeError, match=r"'old\.place' has no attribute 'nonsense'"):
        old.nonsense  # noqa: B018
    lazy = lazy_names("vsearch", {"vsearch.api.hits": ("Hits",)})
    both = module_with(deprecated_names("vsearch", {"Answer": "vsearch.api.hits.Hits"}, since="3.7", otherwise=lazy))
    assert both.Hits is vsearch.Hits
    with pytest.warns(vsearch.VsearchDeprecationWarning):
        assert both.Answer is vsearch.Hits
    with pytest.raises(AttributeError, match="nonsense"):
        both.nonsense  # noqa: B018


def test_at_least_two_minor_releases_warn():
    assert removed_in("0.1") == "0.3"
    assert removed_in("2.9") == "2.11"


#: Old paths that documentation named, and where the name is now.
OLD = {"vsearch.fanout.bill.Prices": "vsearch.Prices"}


@pytest.mark.parametrize("old", OLD)
def test_documented_paths_still_work(old):
    module, _, name = old.rpartition(".")
    home, _, new = OLD[old].rpartition(".")
    with pytest.warns(vsearch.VsearchDeprecationWarning, match=f"use {OLD[old]}"):
        found = getattr(importlib.import_module(module), name)
    assert found is getattr(importlib.import_module(home), new)


@pytest.mark.parametrize(
    ("old", "new"), [("neighbours", "neighbors"), ("neighbour_scores", "neighbor_scores"), ("licence", "license")]
)
def test_renamed_attributes_still_work(old, new):
    sample = vsearch.datasets.load("wordnet-10k")
    with pytest.warns(vsearch.VsearchDeprecationWarning) as caught:
        assert getattr(sample, old) is getattr(sample, new)
    (warning,) = caught
    assert str(warning.message) == f"Dataset.{old} is deprecated since 0.1 and may be removed in 0.3: use {new}"
    assert warning.filename == __file__


def test_an_old_path_is_an_attribute_too_and_its_import_warns():
    script = (
        "import vsearch.fanout; print(vsearch.fanout.bill.Prices.__module__)\nfrom vsearch.fanout.bill import Prices"
    )
    command = [sys.executable, "-W", "default", "-c", script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "vsearch.fanout.calls.bill"
    assert done.stderr.count("VsearchDeprecationWarning") == 2  # one for each line
    assert "<string>:1:" in done.stderr
    assert "<string>:2:" in done.stderr


def test_nothing_is_kept_longer_than_promised_without_a_decision():
    """A release that may remove old names finds them here: remove them, or give them more time in `kept`."""
    kept: dict[str, str] = {}  # file, and the release until which its names were given more time
    now = release(__version__)
    found = 0
    for path in (ROOT / "vsearch").rglob("*.py"):
        for since in re.findall(
            r'= deprecated_(?:names|attribute)\(.*?since="([\d.]+)"', path.read_text(encoding="utf-8"), re.DOTALL
        ):
            name = path.relative_to(ROOT).as_posix()
            assert now < release(kept.get(name, removed_in(since))), f"{name}: its old names may be removed now"
            found += 1
    assert found


def release(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")[:2]))
