"""The pool of threads that a process searches batches with."""

from __future__ import annotations

import os
import threading

import pytest

from tests.test_forking import in_child
from vsearch import threads as module
from vsearch.threads import ThreadPool


def test_results_keep_the_order_of_the_items():
    assert ThreadPool().map(lambda item: item * item, range(100)) == [item * item for item in range(100)]


def test_threads_are_kept_between_calls():
    pool, names = ThreadPool(), set()
    for _ in range(20):
        pool.map(lambda _: names.add(threading.current_thread().name), range(8))
    assert len(names) <= module.available_cores()


def test_the_calling_thread_works_as_well(monkeypatch):
    pool, barrier, used = ThreadPool(), threading.Barrier(2, timeout=30), set()
    monkeypatch.setattr(module, "available_cores", lambda: 2)

    def meet(_):
        barrier.wait()
        used.add(threading.get_ident())

    pool.map(meet, range(2))
    assert threading.get_ident() in used
    assert len(used) == 2


def test_a_busy_pool_delays_no_caller(monkeypatch):
    """Threads that other callers keep busy are not waited for."""
    pool, begun, end = ThreadPool(), threading.Event(), threading.Event()
    monkeypatch.setattr(module, "available_cores", lambda: 2)

    def occupy(_):
        begun.set()
        assert end.wait(30)

    other = threading.Thread(target=pool.map, args=(occupy, range(2)))
    other.start()
    try:
        assert begun.wait(30)
        assert pool.map(lambda item: item, range(100)) == list(range(100))
    finally:
        end.set()
        other.join()


def test_an_interrupted_call_leaves_no_work_behind(monkeypatch):
    pool, done = ThreadPool(), []
    monkeypatch.setattr(module, "available_cores", lambda: 2)
    caller = threading.get_ident()

    def work(item):
        done.append(item)
        if threading.get_ident() == caller:
            raise KeyboardInterrupt

    barrier = threading.Barrier(2, timeout=30)

    def first(item):
        if item < 2:
            barrier.wait()
        work(item)

    with pytest.raises(KeyboardInterrupt):
        pool.map(first, range(100_000))
    count = len(done)
    assert count < 100_000
    pool.map(lambda item: item, range(4))
    assert len(done) == count


def test_errors_are_raised_and_the_pool_goes_on():
    pool = ThreadPool()

    def refuse(item):
        if item == 3:
            raise ValueError(item)
        return item

    with pytest.raises(ValueError, match="3"):
        pool.map(refuse, range(5))
    assert pool.map(refuse, range(3)) == [0, 1, 2]


def test_work_within_work_runs_on_the_same_thread():
    pool = ThreadPool()

    def outer(_):
        return {threading.get_ident(), *pool.map(lambda _: threading.get_ident(), range(3))}

    assert all(len(used) == 1 for used in pool.map(outer, range(4)))


def test_another_number_of_cores_makes_another_pool(monkeypatch):
    pool = ThreadPool()
    barrier = threading.Barrier(3, timeout=30)
    monkeypatch.setattr(module, "available_cores", lambda: 1)
    assert pool.map(lambda item: item, range(3)) == [0, 1, 2]
    monkeypatch.setattr(module, "available_cores", lambda: 3)
    pool.map(lambda _: barrier.wait(), range(3))  # all three at once


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_starts_threads_of_its_own():
    pool = ThreadPool()
    pool.map(lambda item: item, range(4))
    assert in_child(lambda: pool.map(lambda item: item + 1, range(4))) == [1, 2, 3, 4]
