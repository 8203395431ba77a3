"""Several writers on one store, of which one at a time proceeds from store call to store call, in an order set by a seed."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vsearch.errors import ConflictError, StoreError
from vsearch.storage import Store

Fault = str
"""Faults of a call: ``lost`` (done, but the response is lost), ``refused`` (a put is refused with nothing written), ``failed``
(nothing is done), ``twice`` (a put is sent again), ``killed`` (the actor dies; the call may have been done)."""


class Killed(BaseException):
    """The actor was killed: nothing catches this error, and all further calls of the actor fail."""


class Turns:
    """Lets one of several threads proceed at a time, in an order set by the seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self._turn = threading.Condition()
        self._waiting: set[int] = set()
        self._next: int | None = None
        self._expected = 0

    def run(self, actors: Sequence[Callable[[int], Any]]) -> list[BaseException | Any]:
        """Run actors to completion; return what each returned or raised."""
        results: list[Any] = [None] * len(actors)

        def one(number: int) -> None:
            try:
                self.wait(number)
                results[number] = actors[number](number)
            except BaseException as error:
                results[number] = error
            finally:
                with self._turn:
                    self._expected -= 1
                    self._choose()

        self._expected = len(actors)
        threads = [threading.Thread(target=one, args=(number,), daemon=True) for number in range(len(actors))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
            if thread.is_alive():
                raise AssertionError("an actor hangs")
        return results

    def wait(self, number: int) -> None:
        """Let others proceed until it is this actor's turn."""
        with self._turn:
            self._waiting.add(number)
            self._choose()
            while self._next != number:
                self._turn.wait()
            self._next = None
            self._waiting.discard(number)

    def _choose(self) -> None:
        if self._next is None and self._waiting and len(self._waiting) >= self._expected:
            self._next = self.random.choice(sorted(self._waiting))
            self._turn.notify_all()


class TroubledStore:
    """A store as seen by one actor: every call waits for its turn, and some fail."""

    def __init__(self, store: Store, turns: Turns, number: int, faults: Mapping[Fault, float]) -> None:
        self._store = store
        self._turns = turns
        self._number = number
        self._faults = faults
        self._killed = False

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._store, name)
        if not callable(value) or name in ("scratch", "memory_map"):
            return value

        def call(*args: Any, **named: Any) -> Any:
            if self._killed:
                raise Killed
            self._turns.wait(self._number)
            fault = self._draw()
            if fault == "killed":
                self._killed = True
                if self._turns.random.random() < 0.5:
                    value(*args, **named)
                raise Killed
            if fault == "failed":
                raise StoreError("the store failed")
            if fault == "refused" and name == "put" and named.get("create", True):
                raise ConflictError("409 ConditionalRequestConflict")
            result = value(*args, **named)
            if fault == "lost":
                raise StoreError("the answer was lost")
            if fault == "twice" and name == "put":
                value(*args, **named)
            return result

        return call

    def _draw(self) -> Fault | None:
        drawn = self._turns.random.random()
        for fault, share in self._faults.items():
            if drawn < share:
                return fault
            drawn -= share
        return None
