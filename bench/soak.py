"""``python -m bench.soak``: fuzzers that run for as long as allowed. 0 wrong answers, 0 hangs, 0 raw errors, or status 1.

Each fuzzer runs in its own process, which is restarted if a try crashes or hangs it. A try depends only on the seed, the fuzzer and
its number, so that a finding can be reproduced: ``--only file --seed 7 --first 123 --tries 1``.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from random import Random
from select import select
from tempfile import TemporaryDirectory
from typing import Any

from bench.soak_findings import Finding, raw_error

#: Modules with a class `Fuzzer`: constructed with its own folder; `attempt(Random)` returns how one try ended, right or refused, or
#: raises a `Finding`, and `tried` describes the try. Or functions of a seed and a number of tries, which raise.
FUZZERS = {
    "file": "bench.soak_files",
    "payload": "bench.soak_payloads",
    "predicate": "bench.fuzzers.predicates:fuzz_predicates",
    "kill": "bench.fuzzers.commits:fuzz_commits",
    "live": "bench.fuzzers.live",
    "bundle": "bench.fuzzers.bundles",
}

START = 600.0
"""Seconds until the first try begins, to build an index and compile kernels if necessary."""

HANG = 60.0
"""Seconds that a try may take. All deadlines in the fuzzers are much shorter."""

MEMORY = 16 << 30
"""Address space of a fuzzer's process in bytes, so that a trusted bogus length does not take down the machine."""

OUTCOMES = ("right", "refused")
FINDINGS = ("wrong", "raw", "hang", "crash")
LOSSES = ("lost", "doubled", "resurrected")  # prefixes of findings in histories of changes


@dataclass
class Report:
    """Outcomes of one fuzzer's tries."""

    name: str
    tries: int = 0
    seconds: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)
    findings: list[dict[str, Any]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    """Events in the tries, if a fuzzer counts them."""


def fuzz(name: str, seed: int, first: int, tries: int, until: float, folder: Path, hang: float = HANG) -> Report:
    """Run one fuzzer's tries, in as many processes as necessary."""
    report, begun = Report(name), time.monotonic()
    while report.tries < tries and time.monotonic() < until:
        left = tries - report.tries
        command = [
            sys.executable,
            "-m",
            "bench.soak",
            "--child",
            f"{name}={FUZZERS[name]}",
            "--seed",
            str(seed),
            "--folder",
            str(folder),
        ]
        with (folder / "stderr").open("w+b") as errors:
            child = subprocess.Popen(
                [*command, "--first", str(first + report.tries), "--tries", str(left)],
                bufsize=0,  # buffered data would not wake `select`
                stdout=subprocess.PIPE,
                stderr=errors,
            )
            try:
                ready, ended = _listen(child, report, first, until, hang)
            finally:
                child.kill()
                child.communicate()
            errors.seek(0)
            message = errors.read()[-1500:].decode(errors="replace")
        if ended is not None:
            _note(report, first, ended, f"status {child.returncode}: {message}", "")
            if not ready:
                break
    report.seconds = time.monotonic() - begun
    return report


def _listen(
    child: subprocess.Popen[bytes], report: Report, first: int, until: float, hang: float
) -> tuple[bool, str | None]:
    """Read a child's lines until it ends: whether it began, and how it ended if not done: a hang or a crash."""
    assert child.stdout is not None
    ready = False
    while time.monotonic() < until or not ready:
        if not select([child.stdout], [], [], hang if ready else START)[0]:
            return ready, "hang"
        line = child.stdout.readline()
        if not line:
            return ready, (None if child.wait() == 0 else "crash")
        event = json.loads(line)
        if event["outcome"] in OUTCOMES:
            report.tries += 1
            report.outcomes[event["outcome"]] += 1
            report.counts.update(event.get("counts", {}))
        elif event["outcome"] != "ready":
            _note(report, first, event["outcome"], event["text"], event["tried"])
        ready = True
    return True, None


def _note(report: Report, first: int, outcome: str, text: str, tried: str) -> None:
    report.findings.append({"try": first + report.tries, "outcome": outcome, "tried": tried, "text": text})
    report.outcomes[outcome] += 1
    report.tries += 1


def run_child(name: str, module: str, seed: int, first: int, tries: int, folder: Path) -> None:
    """Run tries, and print a line of JSON about each."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    fuzzer = _load(module, folder)
    _say("ready")
    for number in range(first, first + tries):
        fuzzer.tried = ""
        try:
            outcome, text = fuzzer.attempt(Random(f"{seed} {name} {number}")), ""
        except Finding as finding:
            outcome, text = finding.kind, str(finding)
        _say(outcome, text=text, tried=fuzzer.tried, counts=getattr(fuzzer, "counts", {}))


def _load(module: str, folder: Path) -> Any:
    name, _, function = module.partition(":")
    module_object = import_module(name)
    return Seeded(getattr(module_object, function)) if function else module_object.Fuzzer(folder)


class Seeded:
    """A fuzzer that is a function of a seed and a number of tries, and asserts invariants."""

    def __init__(self, function: Callable[[int, int], object]) -> None:
        self.tried = ""
        self._function = function

    def attempt(self, rng: Random) -> str:
        """Run one try; return how it ended: right.

        Raises
        ------
        Finding
        """
        seed = rng.randrange(2**31)
        self.tried = f"{self._function.__name__}({seed}, 1)"
        try:
            self._function(seed, 1)
        except AssertionError as error:
            raise Finding("wrong", str(error)[:1500]) from error
        except BaseException as error:
            raise raw_error(error) from error
        return "right"


def _say(outcome: str, **more: Any) -> None:
    print(json.dumps({"outcome": outcome, **more}), flush=True)


def available() -> list[str]:
    """Fuzzers whose modules exist."""
    return [name for name, module in FUZZERS.items() if find_spec(module.partition(":")[0]) is not None]


def table(reports: list[Report]) -> str:
    """Counts of each fuzzer."""
    heads = ["fuzzer", "tries", *OUTCOMES, *FINDINGS, "seconds"]
    rows = [heads]
    for fuzzer in reports:
        counts = [str(fuzzer.outcomes[name]) for name in (*OUTCOMES, *FINDINGS)]
        rows.append([fuzzer.name, str(fuzzer.tries), *counts, f"{fuzzer.seconds:.0f}"])
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    return "\n".join("  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)) for row in rows)


def main() -> int:
    """The command line; returns 1 if anything was found."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("names", nargs="*", help="fuzzers, as --only takes them")
    parser.add_argument("--tries", "--histories", type=int, help="per fuzzer (200, or as many as --minutes allow)")
    parser.add_argument("--minutes", type=float, help="all fuzzers together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first try")
    parser.add_argument("--only", default=",".join(available()), help="names separated by commas")
    parser.add_argument("--json", action="store_true", help="print all findings as one JSON document")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        run_child(*args.child.split("="), args.seed, args.first, args.tries, args.folder)
        return 0
    names = args.names or [name for name in args.only.split(",") if name]
    for name in names:
        if name not in available():
            parser.error(f"--only takes {', '.join(available())}, got {name!r}")
    tries = args.tries or (200 if args.minutes is None else sys.maxsize)
    reports = []
    with TemporaryDirectory(prefix="vsearch-soak-") as scratch:
        for name in names:
            folder = Path(scratch) / name
            folder.mkdir()
            until = time.monotonic() + (args.minutes * 60 / len(names) if args.minutes else float("inf"))
            reports.append(fuzz(name, args.seed, args.first, tries, until, folder))
    _print(reports, args.seed, as_json=args.json)
    return int(any(report.findings for report in reports))


def _print(reports: list[Report], seed: int, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"seed": seed, "fuzzers": [vars(report) for report in reports]}, indent=2))
        return
    for report in reports:
        for finding in report.findings:
            print(f"{report.name}, try {finding['try']}: {finding['outcome']}: {finding['tried']}\n{finding['text']}\n")
            print(
                f"again: python -m bench.soak --only {report.name} --seed {seed} --first {finding['try']} --tries 1\n"
            )
    print(table(reports))
    for report in reports:
        if report.counts:
            texts = [finding["text"] for finding in report.findings]
            losses = [f"{sum(word in text for text in texts)} {word}" for word in LOSSES]
            print(
                f"{report.name}: {', '.join([*(f'{n} {what}' for what, n in sorted(report.counts.items())), *losses])}"
            )


if __name__ == "__main__":
    sys.exit(main())
