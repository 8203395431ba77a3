"""Stores at which a fault or another event happens at a selected call."""

from __future__ import annotations

import threading


class Killed(BaseException):
    """The process was killed: its later calls do not reach the store."""


class Interrupted:
    """A store at which something happens once, before or after the first call that `when` picks."""

    def __init__(self, store, when, event, *, after=False):
        self._store, self._when, self._event, self._after = store, when, event, after
        self.done = False

    def __getattr__(self, name):
        value = getattr(self._store, name)
        if not callable(value):
            return value

        def call(*args, **named):
            chosen = not self.done and self._when(name, *args)
            self.done = self.done or chosen
            if chosen and not self._after:
                self._event()
            result = value(*args, **named)
            if chosen and self._after:
                self._event()
            return result

        return call


class Deadly:
    """A store whose process dies at its n-th call, when that is done or before; it counts calls where it does not."""

    def __init__(self, store, last=None, *, done=False):
        self._store, self._last, self._done = store, last, done
        self.calls, self._dead = 0, False
        self.wrote = self.writes = False  # whether anything was written, and whether the last call was to write

    def __getattr__(self, name):
        value = getattr(self._store, name)
        if not callable(value) or name in {"scratch", "memory_map"}:
            return value

        def call(*args, **named):
            if self._dead:
                raise Killed
            self._dead = self.calls == self._last
            self.calls += 1
            self.writes = name in {"put", "put_file", "delete"}
            if self._dead and not self._done:
                raise Killed
            result = value(*args, **named)
            self.wrote = self.wrote or self.writes
            if self._dead:
                raise Killed
            return result

        return call


class Counting:
    """A store that notes the folder of every put, and does something before it puts a manifest."""

    def __init__(self, store, event=lambda: None):
        self._store, self._event, self.puts = store, event, []

    def __getattr__(self, name):
        return getattr(self._store, name)

    def put(self, path, data, *, create=True):
        self.puts.append(path.split("/")[0])
        if is_manifest("put", path):
            self._event()
        self._store.put(path, data, create=create)


def nth(number, names=None):
    """Pick the call with a number, counted from 0, of those with some names, or of all that reach a store."""
    left = [number]

    def chosen(name, *_):
        counts = name in names if names else name not in {"scratch", "memory_map"}
        left[0] -= counts
        return counts and left[0] == -1

    return chosen


def together(index, *calls):
    """Make calls in threads while another one has the lock, so that the first to have it takes all, in this order."""
    outcomes = [None] * len(calls)

    def make(place, call):
        try:
            outcomes[place] = call(index)
        except BaseException as error:
            outcomes[place] = error

    threads = [threading.Thread(target=make, args=item, daemon=True) for item in enumerate(calls)]
    with index._lock:
        for place, thread in enumerate(threads, 1):
            thread.start()
            for _ in range(200):  # one that goes alone does not wait in the queue
                if len(index._waiting) >= place or not thread.is_alive():
                    break
                thread.join(0.005)
    for thread in threads:
        thread.join(60)
    return outcomes


def is_manifest(name, path="", *_):
    return name == "put" and path.startswith("manifest/0")


def is_segment(name, path="", *_):
    return name == "put" and path.startswith("segments/")


def raising(error):
    def event():
        raise error

    return event


def on(store):
    """The newest snapshot of a store, open."""
    from bench.fuzzers.live_model import open_here

    return open_here(store)


def segments(store):
    return {info.path for info in store.list("segments")}


def objects(store):
    """The contents of a store, by path."""
    return {info.path: bytes(store.get(info.path)) for info in store.list("")}
