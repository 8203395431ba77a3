"""Errors can be pickled: whatever is raised in a child process can be raised again in its parent."""

from __future__ import annotations

import copy
import copyreg
import importlib
import multiprocessing
import pickle
import pkgutil

import pytest

import vsearch
from vsearch.errors import CorruptIndexError, InputError, StoreError, VsearchError, restore_pickling
from vsearch.fanout.calls.bill import Usage, Usages
from vsearch.fanout.calls.retries import CallError, ErrorKind


def error_classes() -> list[type[VsearchError]]:
    """Every class of the tree, wherever in the package it is defined."""
    for module in pkgutil.walk_packages(vsearch.__path__, "vsearch."):
        if not module.name.endswith("__main__"):
            try:
                importlib.import_module(module.name)
            except ImportError:  # an optional package is not there
                continue
    found, level = [], [VsearchError]
    while level:
        found += level
        level = [child for kind in level for child in kind.__subclasses__() if child.__module__.startswith("vsearch")]
    return list(dict.fromkeys(found))


ARGUMENTS = {
    "CorruptIndexError": [("segments/a", "is missing")],
    "MissingObjectError": [("segments/a", "is missing")],
    "KnownIdsError": [("the index has rows with these ids", [1, 5])],
    "BadRowsError": [({3: "has no vector", 1: "has no id"},)],
    "CallError": [(ErrorKind.CRASH, "it ended"), (ErrorKind.DEADLINE, "it was late")],
    "UnsentError": [(ErrorKind.TOO_LARGE, "it is too large")],
    "ReportedError": [(ErrorKind.STORE, "it failed", Usages.of("processor", Usage(invocations=1, seconds=0.5)))],
}
OPTIONS = {
    "ChangesNotFoundError": {"oldest": 3},
    "CallError": {"attempts": 3, "seconds": 1.5, "final": True},
    "UnsentError": {"attempts": 2},
    "ReportedError": {"final": True},
}


def made() -> list[VsearchError]:
    errors = []
    for kind in error_classes():
        given = ARGUMENTS.get(kind.__name__, [("what is wrong",), (), ("wrong", 2)])
        if issubclass(kind, OSError):
            given = [*given, (2, "No such file", "/a/b"), (13, "Permission denied")]
        errors += [kind(*arguments, **OPTIONS.get(kind.__name__, {})) for arguments in given]
    return errors


def facts(error: VsearchError) -> dict:
    names = {"errno", "strerror", "filename", "filename2", "name", "path"}
    return {name: getattr(error, name, None) for name in names} | vars(error)


@pytest.fixture(autouse=True)
def as_without_distributed():
    """Tests of clusters import a library that registers a reducer for all exceptions."""
    restore_pickling()


def test_a_reducer_of_others_is_replaced(monkeypatch):
    for kind in error_classes():
        monkeypatch.setitem(copyreg.dispatch_table, kind, lambda error: (str, (repr(error),)))
    assert isinstance(pickle.loads(pickle.dumps(InputError("x"))), str)
    restore_pickling()
    assert isinstance(pickle.loads(pickle.dumps(InputError("x"))), InputError)


@pytest.mark.parametrize("copied", [lambda e: pickle.loads(pickle.dumps(e)), copy.deepcopy, copy.copy])
def test_every_error_of_the_tree_survives(copied):
    errors = made()
    assert len(errors) > 40
    for error in errors:
        error.noted = {"shard": 3}
        error.add_note("while testing")
        again = copied(error)
        assert type(again) is type(error)
        assert again.args == error.args
        assert str(again) == str(error)
        assert facts(again) == facts(error)
        assert again.__cause__ is None


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_the_text_of_the_cause_comes_along(protocol):
    class CannotTravelError(Exception):
        def __reduce__(self):
            raise TypeError("not at all")

    for error in made():
        error.__cause__ = CannotTravelError("the disk said no")
        again = pickle.loads(pickle.dumps(error, protocol))
        assert str(again.__cause__).endswith("CannotTravelError: the disk said no")
        twice = pickle.loads(pickle.dumps(again, protocol))
        assert str(twice.__cause__) == str(again.__cause__)
        assert str(twice) == str(error)


def test_a_missing_package_keeps_its_name():
    again = pickle.loads(pickle.dumps(vsearch.MissingDependencyError("install it", name="boto3", path="/a")))
    assert (again.name, again.path, str(again)) == ("boto3", "/a", "install it")


def fail(number: int) -> None:
    if number == 0:
        raise CorruptIndexError("segments/a", "is damaged")
    if number == 1:
        raise CallError(ErrorKind.MEMORY, "it was killed", attempts=2)
    raise StoreError("the store failed") from ValueError("the reason")


def test_a_pool_hands_errors_on():
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        asked = [pool.apply_async(fail, (number,)) for number in range(3)]
        with pytest.raises(CorruptIndexError, match="segments/a: is damaged") as damaged:
            asked[0].get(60)
        assert damaged.value.path == "segments/a"
        with pytest.raises(CallError, match="killed") as killed:
            asked[1].get(60)
        assert (killed.value.kind, killed.value.attempts) == (ErrorKind.MEMORY, 2)
        with pytest.raises(StoreError, match="the store failed") as store:
            asked[2].get(60)
        assert "the reason" in str(store.value.__cause__)
