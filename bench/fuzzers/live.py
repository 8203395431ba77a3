"""Writers of one live index, interleaved at every store call, on stores that lose responses, refuse, fail and kill.

Committed operations are applied to a dict in the order of the commits; the index must have the same contents.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import Any

from bench.fuzzers.actors import Fault, Killed, TroubledStore, Turns
from bench.fuzzers.live_model import (
    ID_TYPES,
    Ask,
    State,
    begin,
    beginning,
    carry_out,
    changes,
    check,
    draw_ask,
    mapped,
    open_here,
    outcome,
)
from bench.soak_findings import Finding, raw_error
from vsearch.api.index import Index
from vsearch.building import partitioning
from vsearch.errors import (
    ConflictError,
    CorruptIndexError,
    InputError,
    SnapshotNotFoundError,
    StoreError,
    VsearchError,
)
from vsearch.live import maintenance, plan
from vsearch.live.commits import Commit
from vsearch.storage import Store, prune, read_manifest, verify
from vsearch.storage.files.naming import snapshot_number
from vsearch.storage.snapshots import committing
from vsearch.storage.snapshots.condemned import is_marker
from vsearch.storage.snapshots.manifest import decode_manifest, manifest_files

SOUND: Mapping[Fault, float] = {}
QUIET: Mapping[Fault, float] = {"refused": 0.05, "twice": 0.05}
UNRELIABLE: Mapping[Fault, float] = {"lost": 0.03, "refused": 0.05, "failed": 0.02, "twice": 0.05}
DEADLY: Mapping[Fault, float] = {"lost": 0.01, "refused": 0.03, "twice": 0.03, "killed": 0.02}

OLD = timedelta(days=1)

FOLDS = ("fold", "optimize")


def fuzz_live(seed: int, tries: int) -> Counter[str]:
    """Run and check a number of histories; return counts of events.

    Raises
    ------
    AssertionError
        Rows were lost, duplicated or resurrected, an answer is wrong, or the index is stuck.
    """
    counts: Counter[str] = Counter()
    with small_measures():
        for number in range(tries):
            counts += _History(seed * 1_000_003 + number).run()
    return counts


class Fuzzer:
    """One history per try, for `bench.soak`."""

    def __init__(self, _: object) -> None:
        self.tried, self.counts = "", Counter[str]()
        with small_measures():
            for id_type in ID_TYPES:
                for shards in (1, 2):
                    check(
                        open_here(beginning(id_type, shards).copy(mapped())),
                        beginning(id_type, shards).state,
                        Random(1),
                    )

    def attempt(self, rng: Random) -> str:
        """Run one history; return how it ended: right.

        Raises
        ------
        Finding
        """
        seed = rng.randrange(2**31)
        self.tried = f"fuzz_live({seed}, 1)"
        try:
            self.counts = fuzz_live(seed, 1)
        except AssertionError as error:
            raise Finding("wrong", str(error)[:1500]) from error
        except BaseException as error:
            raise raw_error(error) from error
        return "right"


@contextmanager
def small_measures() -> Iterator[None]:
    """Make merges, folds and splits due after a few rows, and waits short."""
    places: list[tuple[Any, str, Any]] = [
        (committing, "PATIENCE", 20.0),
        (committing, "FIRST_WAIT", 0.0001),
        (committing, "LONGEST_WAIT", 0.0002),
        (plan, "FANOUT", 3),
        (plan, "TAIL_ROWS", 6),
        (plan, "TAIL_SHARE", 0.0),
        (plan, "REWRITES", 2),
        (maintenance, "MOST_DELTAS", 5),
        (partitioning, "LARGEST_OVER_MEAN", 1.5),
        (partitioning, "LEAST_LARGEST", 6.0),
    ]
    before = [(module, name, getattr(module, name)) for module, name, _ in places]
    for module, name, value in places:
        setattr(module, name, value)
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


@dataclass(eq=False)
class Deed:
    """An operation requested by an actor, and its outcome."""

    ask: Ask
    begun: int
    """The newest snapshot at that time."""
    ended: int = 0
    commit: Commit | None = None
    error: BaseException | None = None


@dataclass(eq=False)
class Log:
    """The manifests that were put, and by which operation."""

    deeds: dict[str, Deed] = field(default_factory=dict)
    newest: int = 1


class Recorded:
    """A store as seen by one actor, which records the manifests that it puts."""

    def __init__(self, store: Store, log: Log) -> None:
        self._store, self._log = store, log
        self.deed: Deed | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def put(self, path: str, data: bytes, *, create: bool = True) -> None:
        self._store.put(path, data, create=create)
        number = snapshot_number(path)
        if number is not None and self.deed is not None:
            manifest = decode_manifest(path, data)
            made = manifest.live.operation.kind if manifest.live and manifest.live.operation else ""
            folded = made == "optimize" and self.deed.ask.kind not in FOLDS  # by a change that left many deltas
            self._log.deeds[manifest.writer] = Deed(Ask("fold"), number) if folded else self.deed
            self._log.newest = max(self._log.newest, number)


class OwnStore(TroubledStore):
    """A store whose calls wait for their turn, except calls of helper threads and of the final check."""

    def __init__(self, store: Any, turns: Turns, number: int, faults: Mapping[Fault, float]) -> None:
        super().__init__(store, turns, number, faults)
        self._thread, self._plain = threading.current_thread(), store

    def __getattr__(self, name: str) -> Any:
        if threading.current_thread() is not self._thread:
            return getattr(self._plain, name)
        return super().__getattr__(name)


class _History:
    def __init__(self, seed: int) -> None:
        self.seed, self.turns = seed, Turns(seed)
        self.draw = Random(seed)
        self.id_type = self.draw.choice(ID_TYPES)
        self.store, self.state = begin(self.draw, self.id_type)
        self.faults = self.draw.choice((SOUND, QUIET, QUIET, UNRELIABLE, DEADLY))
        self.prunes = self.draw.random() < 0.3
        self.log, self.counts = Log(), Counter[str](histories=1)
        self.deeds: list[Deed] = []
        self.views: list[tuple[Index, int]] = []

    def run(self) -> Counter[str]:
        """All of it."""
        results = self.turns.run([self._act] * self.draw.randint(2, 3))
        try:
            for result in results:
                assert result is None or isinstance(result, Killed), "".join(traceback.format_exception(result)[-3:])
                self.counts["killed"] += result is not None
            self._check()
        except (AssertionError, VsearchError) as error:
            log = "\n".join(repr(deed.ask) + f" -> {deed.commit or deed.error!r}" for deed in self.deeds)
            raise AssertionError(f"seed {self.seed}: {error}\n{log}") from error
        return self.counts

    def _act(self, number: int) -> None:
        recorded = Recorded(self.store, self.log)
        store: Any = OwnStore(recorded, self.turns, number, self.faults)
        draw = Random(f"{self.seed} {number}")
        index = _patiently(lambda: open_here(store))
        for _ in range(draw.randint(1, 3)):
            if draw.random() < 0.2:
                self._look(index)
            if self.prunes and draw.random() < 0.3:
                recorded.deed = None
                try:
                    prune(store, draw.randint(1, 2), grace=OLD, older_than=0)
                    self.counts["prunes"] += 1
                except (StoreError, ConflictError):
                    pass
            self._do(index, draw_ask(draw, self.id_type), recorded, draw)

    def _look(self, index: Index) -> None:
        try:
            index.refresh()
        except StoreError:
            return
        except (CorruptIndexError, SnapshotNotFoundError):
            if not self.prunes:
                raise
            return
        self.views.append((Index(index.snapshot), index.snapshot.manifest.snapshot))

    def _do(self, index: Index, ask: Ask, recorded: Recorded, draw: Random) -> None:
        if ask.kind not in FOLDS and draw.random() < 0.1:
            ask.if_snapshot = index.snapshot.manifest.snapshot
        for _ in range(4):
            deed = Deed(ask, self.log.newest)
            self.deeds.append(deed)
            recorded.deed = deed
            try:
                deed.commit = carry_out(index, ask)
            except (InputError, ConflictError) as error:
                deed.error = error
            except StoreError as error:
                deed.error = error
                self.counts["failed"] += 1
                if ask.token is not None:
                    continue
            except BaseException as error:
                deed.error = error
                raise
            finally:
                deed.ended, recorded.deed = self.log.newest, None
            return

    def _check(self) -> None:
        states = self._states()
        newest = max(states)
        self._check_deeds(states)
        for index, number in self.views:
            try:
                check(index, states[number], self.draw)
            except SnapshotNotFoundError:
                assert self.prunes, "an old snapshot cannot be read"
        index = open_here(self.store)
        check(index, states[newest], self.draw)
        report = verify(self.store)
        assert report.ok, f"the newest snapshot is damaged: {report.problems}"
        self._go_on(index, states[newest])

    def _states(self) -> dict[int, State]:
        """The expected contents of each snapshot, from the operations in commit order."""
        manifest = read_manifest(self.store)
        chain = [manifest.writer, *manifest.lineage][::-1]
        assert len(chain) == manifest.snapshot, f"snapshot {manifest.snapshot} goes back to {len(chain) - 1} others"
        states, occurrences = {1: self.state}, Counter[int]()
        self.at: dict[int, tuple[int, tuple[int, int, int]]] = {}
        for number, writer in enumerate(chain[1:], 2):
            deed = self.log.deeds[writer]
            made = outcome(states[number - 1], deed.ask)
            assert made is not None, f"snapshot {number}: {deed.ask} was committed where it had to be refused"
            states[number] = made.state
            occurrences[id(deed.ask)] += 1
            once = deed.ask.kind not in FOLDS
            assert occurrences[id(deed.ask)] == 1 or not once, (
                f"doubled: {deed.ask} was committed again in snapshot {number}"
            )
            self.at[id(deed.ask)] = number, made.counts
            self.counts["commits"] += 1
        return states

    def _check_deeds(self, states: Mapping[int, State]) -> None:
        for deed in self.deeds:
            ask, window = deed.ask, [states[n] for n in range(deed.begun, deed.ended + 1)]
            made = [outcome(state, ask) for state in window]
            if deed.commit is not None and ask.kind not in FOLDS:
                done = deed.commit
                counts = (done.added, done.replaced, done.deleted)
                if any(counts):
                    assert self.at.get(id(ask)) == (done.snapshot, counts), (
                        f"lost: {ask}, {done}, {self.at.get(id(ask))}"
                    )
                else:
                    assert id(ask) not in self.at, f"{ask} is said to have changed nothing"
                    assert any(one is not None and not changes(one) for one in made), f"{ask} changed nothing"
            elif isinstance(deed.error, InputError):
                self.counts["refused"] += 1
                assert any(one is None for one in made), f"{ask} was refused for no reason: {deed.error}"
                assert id(ask) not in self.at, f"{ask} was refused and committed"
            elif isinstance(deed.error, ConflictError):
                self.counts["conflicts"] += 1
                assert ask.if_snapshot is not None, f"{ask}: {deed.error}"
                assert deed.ended > ask.if_snapshot, f"{ask}: {deed.error}"

    def _go_on(self, index: Index, state: State) -> None:
        """Check that further operations work, and that a prune removes all files of killed and failed writers."""
        for deed in self.deeds:  # a killed process restarts and repeats its operation
            if isinstance(deed.error, Killed) and deed.ask.token is not None:
                deed.ask.if_snapshot = None
                known, made = self.at.get(id(deed.ask)), outcome(state, deed.ask)
                if known is None and made is None:
                    continue
                done = carry_out(index, deed.ask)
                counts = (done.added, done.replaced, done.deleted)
                if known is not None:
                    assert (done.snapshot, counts) == known, f"doubled: {deed.ask}"
                elif made is not None:
                    assert counts == made.counts, f"{deed.ask}: {counts} instead of {made.counts}"
                    state = made.state
        for ask in (draw_ask(self.draw, self.id_type), Ask("optimize", force=self.draw.random() < 0.7)):
            made = outcome(state, ask)
            if made is not None:
                carry_out(index, ask)
                state = made.state
        assert len(index) == len(state.rows), "the handle differs from the index"
        prune(self.store, 1, grace=0, older_than=0)
        check(open_here(self.store), state, self.draw)
        manifest = read_manifest(self.store)
        named = {entry.path for entry in manifest_files(manifest)}
        # Markers stay for their lifetime.
        left = {info.path for info in self.store.list("") if not is_marker(info.path)} - named
        assert len(left) == 1, f"a prune leaves {sorted(left)}"


def _patiently(open_it: Callable[[], Index]) -> Index:
    """Open an index on a store that fails occasionally."""
    end = time.monotonic() + 20
    while True:
        try:
            return open_it()
        except (StoreError, SnapshotNotFoundError):
            if time.monotonic() > end:
                raise
