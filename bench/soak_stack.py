"""``python -m bench.soak_stack --minutes 60``: writers, keeper and searches at once, through functions on the local FaaS.

Each writer owns a range of ids, and knows what it committed: the version of each of its rows, and which are deleted. Searches
must return nothing older, nothing deleted and nothing foreign; every minute, all rows are compared. In the first quarter
environments are stopped now and then, so that functions start cold; those of the last three quarters live to the end, since only
old ones show whether memory grows. Status 1 if anything was wrong, lost or resurrected, or if memory grew.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import threading
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import vsearch
from bench.serverless_stack import NAMES, Stack, deployed, object_store, package

DIMENSIONS = 32
BASE_ROWS = 3000
RANGE = 1_000_000
"""Number of ids per writer."""

KEPT_ROWS = 1000
"""Number of rows of a writer above which it deletes more, so that the index keeps its size: memory must not grow then."""

LARGEST_GROWTH = 1.25
"""Allowed growth of a function's memory from the second quarter of the run to the last."""


def vector_of(id_: int, version: int) -> np.ndarray:
    """The vector of a version of a row."""
    rng = np.random.default_rng([id_, version])
    center = np.random.default_rng(id_ % 20).standard_normal(DIMENSIONS)
    return (center + 0.4 * rng.standard_normal(DIMENSIONS)).astype(np.float32)


@dataclass
class Owner:
    """The commits of a writer.

    Attributes
    ----------
    number : int
    versions : dict of int to int
        Version of each live row.
    latest : dict of int to int
        The newest version of each id, including deleted ones.
    deleted : set of int
    snapshot : int
        Snapshot of its last commit.
    busy : set of int
        Ids in a change that is not confirmed yet.
    lock : Lock
        Protects this state.
    turn : Lock
        Held while a change is made.
    """

    number: int
    versions: dict[int, int] = field(default_factory=dict)
    latest: dict[int, int] = field(default_factory=dict)
    deleted: set[int] = field(default_factory=set)
    snapshot: int = 1
    busy: set[int] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)
    turn: threading.Lock = field(default_factory=threading.Lock)


class Soak:
    """One run."""

    def __init__(self, up: Stack, writers: int, pause: float, seed: int) -> None:
        self.up, self.pause = up, pause
        self.owners = [Owner(number) for number in range(writers + 1)]  # the first one owns the initial rows
        self.owners[0].versions = dict.fromkeys(range(BASE_ROWS), 0)
        self.owners[0].latest = dict(self.owners[0].versions)
        self.findings: list[str] = []
        self.counts: Counter[str] = Counter()
        self.memory: dict[str, list[tuple[float, int]]] = {}
        self.stop = threading.Event()
        self._seed, self._begun = seed, time.monotonic()

    def run(self, minutes: float) -> None:
        """Write and search for a number of minutes."""
        jobs = [(self._write, owner) for owner in self.owners] + [(self._search, None)] * 2
        threads = [
            threading.Thread(target=self._guard, args=(job, argument, number))
            for number, (job, argument) in enumerate(jobs)
        ]
        for thread in threads:
            thread.start()
        end, rng = self._begun + 60 * minutes, Random(self._seed)
        while time.monotonic() < end and not self.stop.is_set():
            time.sleep(min(60.0, max(0.0, end - time.monotonic())))
            self._guard(self._compare, None, -1)
            self._measure()
            if rng.random() < 0.3 and time.monotonic() - self._begun < 15 * minutes:
                self.counts["environments stopped"] += self.up.platform.evict_idle()
            if rng.random() < 0.3:
                self._guard(self._optimize, None, -1)
            sizes = {role: round(samples[-1][1] / 1e6) for role, samples in self.memory.items()}
            at = (time.monotonic() - self._begun) / 60
            rows = sum(len(owner.versions) for owner in self.owners)
            print(f"{at:.0f} min: {dict(self.counts)}, {rows} rows, MB: {sizes}", file=sys.stderr, flush=True)
        self.stop.set()
        for thread in threads:
            thread.join()
        self._guard(self._compare, None, -1)
        self.counts["environments stopped"] += self.up.platform.evict_idle()
        self._guard(self._compare, None, -1)

    def _guard(self, job: Any, argument: Any, number: int) -> None:
        try:
            job(argument, Random(f"{self._seed} {number}"))
        except Exception:
            self.findings.append(traceback.format_exc()[-1500:])
            self.stop.set()

    def _write(self, owner: Owner, rng: Random) -> None:
        following = owner.number * RANGE + len(owner.latest)
        remote = self.up.index
        while not self.stop.is_set():
            with owner.turn:
                count = rng.randint(1, 20)
                present = sorted(owner.versions)
                kind = rng.choice(["append", "upsert", "delete"] if len(present) > 200 else ["append"])
                if kind == "append":
                    ids = list(range(following, following + count))
                    following += count
                elif kind == "upsert":
                    ids = rng.sample(present, count // 2 + 1) + rng.sample(
                        sorted(owner.deleted), min(3, len(owner.deleted))
                    )
                else:
                    ids = rng.sample(present, count + max(0, len(present) - KEPT_ROWS) // 4)
                with owner.lock:
                    owner.busy = set(ids)
                if kind == "delete":
                    commit = remote.delete(ids)
                    assert commit.deleted == len(ids), (commit, ids)
                else:
                    versions = [owner.latest.get(id_, -1) + 1 for id_ in ids]
                    vectors = np.stack([vector_of(*pair) for pair in zip(ids, versions, strict=True)])
                    columns = {"owner": [owner.number] * len(ids), "version": versions}
                    commit = getattr(remote, kind)(vectors, columns, np.array(ids))
                    assert commit.added + commit.replaced == len(ids), (commit, ids)
                with owner.lock:
                    if kind == "delete":
                        for id_ in ids:
                            del owner.versions[id_]
                        owner.deleted |= set(ids)
                    else:
                        owner.versions |= dict(zip(ids, versions, strict=True))
                        owner.latest |= owner.versions
                        owner.deleted -= set(ids)
                    owner.snapshot, owner.busy = commit.snapshot, set()
                self.counts[kind] += 1
            time.sleep(self.pause * rng.random())

    def _search(self, _: Any, rng: Random) -> None:
        while not self.stop.is_set():
            owner = rng.choice(self.owners)
            with owner.lock:
                versions, deleted, busy = dict(owner.versions), set(owner.deleted), set(owner.busy)
                at_least = owner.snapshot
            aimed = rng.choice(sorted(versions)) if versions else owner.number * RANGE
            hits = self.up.index.search(
                vector_of(aimed, versions.get(aimed, 0)),
                k=20,
                where=f"owner = {owner.number}",
                columns=["owner", "version"],
                at_least=at_least,
                mode=rng.choice(["auto", "flat", "tree"]),
            )
            rows = zip(hits.ids[0].tolist(), hits.columns.to_pylist(), strict=False)
            for id_, columns in rows:
                if id_ < 0:
                    continue
                assert columns["owner"] == owner.number == id_ // RANGE, ("foreign", id_, columns)
                if id_ in busy:
                    continue
                newer = self._changed_since(owner, id_, versions.get(id_))
                assert newer or id_ not in deleted, ("resurrected", id_)
                assert newer or columns["version"] >= versions.get(id_, 0), ("older", id_, columns, versions.get(id_))
            if aimed not in busy and versions and not self._changed_since(owner, aimed, versions[aimed]):
                assert aimed in hits.ids[0].tolist(), ("lost", aimed, hits.ids[0].tolist())
            self.counts["search"] += 1
            time.sleep(self.pause * rng.random())

    def _changed_since(self, owner: Owner, id_: int, version: int | None) -> bool:
        with owner.lock:
            return id_ in owner.busy or owner.versions.get(id_) != version

    def _compare(self, _: Any, __: Random) -> None:
        """Check every row of every writer, while no writer is active."""
        for owner in self.owners:
            owner.turn.acquire()
        try:
            newest = max(owner.snapshot for owner in self.owners)
            for owner in self.owners:
                hits = self.up.index.search(
                    vector_of(0, 0),
                    k=10_000,
                    where=f"owner = {owner.number}",
                    columns=["version"],
                    exact=True,
                    at_least=newest,
                )
                versions = [row["version"] for row in hits.columns.to_pylist()]
                ids = [id_ for id_ in hits.ids[0].tolist() if id_ >= 0]
                stored = dict(zip(ids, versions, strict=False))
                assert len(ids) == len(stored), ("doubled", owner.number)
                lost, more = set(owner.versions) - set(stored), set(stored) - set(owner.versions)
                assert not lost, ("lost", owner.number, sorted(lost)[:5])
                assert not more, ("resurrected", owner.number, sorted(more)[:5])
                assert stored == owner.versions, ("another version", owner.number)
            self.counts["comparison of all rows"] += 1
        finally:
            for owner in self.owners:
                owner.turn.release()

    def _optimize(self, _: Any, __: Random) -> None:
        self.up.index.optimize(force=True)
        self.counts["merge of everything"] += 1

    def _measure(self) -> None:
        at = time.monotonic() - self._begun
        for function in self.up.platform._functions.values():  # noqa: SLF001 (the only access to the processes)
            for environment in list(function.idle):
                role = NAMES.role(function.spec.name)
                self.memory.setdefault(role, []).append((at, resident(environment.pid)))

    def growth(self, role: str) -> float:
        """Median memory in the last quarter of the run relative to the second; 1 if there is nothing to compare."""
        samples, end = self.memory.get(role, []), time.monotonic() - self._begun
        quarter = [[size for at, size in samples if part <= 4 * at / end < part + 1] for part in (1, 3)]
        return median(quarter[1]) / median(quarter[0]) if all(quarter) else 1.0


def resident(pid: int) -> int:
    """Resident bytes of a process; 0 if it has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
    except OSError:
        return 0


def main() -> int:
    """The command line; returns 1 if anything was found."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak_stack", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--writers", type=int, default=2)
    parser.add_argument("--pause", type=float, default=0.5, help="largest pause of a thread between two calls, seconds")
    parser.add_argument("--keep-every", type=float, default=20.0, help="seconds between two runs of the keeper")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kernels", type=Path, help="folder of compiled kernels, to compile none")
    args = parser.parse_args()
    with TemporaryDirectory(prefix="vsearch-soak-stack-") as name:
        work = Path(name)
        if args.kernels is not None:
            shutil.copytree(args.kernels, work / "kernels")
        folder = work / "built" / "index"
        ids = np.arange(BASE_ROWS)
        vectors = np.stack([vector_of(int(id_), 0) for id_ in ids])
        vsearch.build(vectors, folder, {"owner": np.zeros_like(ids), "version": np.zeros_like(ids)}, ids, shards=2)
        packages = package(work), package(work, changes=True)
        with (
            object_store(work / "s3") as endpoint,
            deployed(work, folder, packages[0], endpoint, changes=packages[1], keep_every=args.keep_every) as up,
        ):
            soak = Soak(up, args.writers, args.pause, args.seed)
            soak.run(args.minutes)
            status = {function["name"]: function for function in up.platform.status()}
    roles = sorted(soak.memory)
    growth = {role: round(soak.growth(role), 3) for role in roles}
    peak = {role: round(max(size for _, size in soak.memory[role]) / 1e6, 1) for role in roles}
    print(json.dumps({"counts": soak.counts, "peak MB": peak, "memory growth": growth,
                      "keeper runs": status[NAMES.keeper]["invocations"]}, indent=2))  # fmt: skip
    for finding in soak.findings:
        print(finding)
    grown = [role for role, ratio in growth.items() if ratio > LARGEST_GROWTH]
    if grown:
        print(f"memory grew: {', '.join(grown)}")
    return int(bool(soak.findings or grown))


if __name__ == "__main__":
    sys.exit(main())
