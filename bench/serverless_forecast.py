"""``python -m bench.serverless_forecast``: `vsearch cost` compared with the bills of a stack on the local FaaS."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench import report
from bench.data import Floats
from bench.serverless_stack import Stack, deployed, object_store, package
from vsearch.fanout.calls.bill import Usages, make_bill

RESULTS = Path(__file__).with_name("RESULTS.md")
K = 10
REPETITIONS = 15
ASKED = ((1, "alone"), (1, "flat"), (256, "flat"), (256, "tree"))


@dataclass(frozen=True)
class Hop:
    """Seconds per invocation on top of the function's own time, and seconds per byte that it carries."""

    seconds: float
    byte: float


@dataclass(frozen=True)
class Prediction:
    """A forecast and a measured bill, in dollars per million queries."""

    what: str
    predicted: float
    measured: float


def measure_hop(stack: Stack, queries: Floats) -> Hop:
    """Time on the caller's clock minus the time billed for the function, for single queries and for batches."""

    def waited(batch: int) -> float:
        times = []
        for _ in range(30 if batch == 1 else 12):
            begun = time.perf_counter()
            hits = stack.index.search(queries[:batch], K, mode="flat")
            assert hits.bill is not None
            times.append(time.perf_counter() - begun - hits.bill.usages.coordinator.seconds)
        return float(np.median(times[3:]))

    batch = min(256, len(queries))
    single, several = waited(1), waited(batch)
    return Hop(single, max(0.0, several - single) / ((batch - 1) * (queries[0].nbytes + 28 * K)))


def predict(stack: Stack, index: Path, queries: Floats, batch: int, mode: str, hop: Hop) -> Prediction:
    """Forecast a warm answer's bill, and measure those of the stack: the best of some repetitions, then the mean of requests."""
    from vsearch.deploy.cost import measure_bill
    from vsearch.storage import open_store

    cores = len(os.sched_getaffinity(0))
    options = {"memory": stack.memory, "queries": batch, "k": K, "mode": mode, "vectors": queries}
    bill, count = measure_bill(
        open_store(str(index)),
        **options,
        hop=hop.seconds,
        byte=hop.byte,
        processors=cores,  # type: ignore[arg-type]
    )
    best, prices = [], bill.prices
    requests = 16 if batch == 1 else 3
    for number in range(requests):
        query_batch = queries[(number * batch + np.arange(batch)) % len(queries)]
        hits = [stack.index.search(query_batch, K, mode=mode) for _ in range(REPETITIONS + 1)][1:]
        best.append(min((hit.bill for hit in hits if hit.bill is not None), key=lambda hit: hit.total).usages)
    measured = make_bill(Usages.sum(best), prices).total / (requests * batch)
    what = f"{stack.shards} {'shard' if stack.shards == 1 else 'shards'}, {'single queries' if batch == 1 else f'batches of {batch}'}, {mode}"
    return Prediction(what, 1e6 * bill.total / count, 1e6 * measured)


def table_of(predictions: list[Prediction]) -> str:
    """Forecasts and bills."""
    return report.table(
        ["dollars per million queries", "forecast by `vsearch cost`", "the answers' bills, best of 15", "ratio"],
        [
            [prediction.what, prediction.predicted, prediction.measured, prediction.predicted / prediction.measured]
            for prediction in predictions
        ],
    )


def main() -> None:
    """Forecast and measure on an index in one shard and in four; replaces the section of the results."""
    import vsearch

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "vsearch-bench" / "serverless")
    work = parser.parse_args().work
    work.mkdir(parents=True, exist_ok=True)
    sample = vsearch.datasets.load("wordnet-10k")
    queries = np.tile(sample.queries, (4, 1)).astype(np.float32)
    zipped, predictions, hops = package(work), [], []
    with object_store(work / "s3") as endpoint:
        for shards in (1, 4):
            index = work / f"wordnet-10k-{shards}" / "index"
            if not index.exists():
                vsearch.build(sample.vectors, index, sample.attributes, shards=shards)
            with deployed(work, index, zipped, endpoint) as stack:
                for batch, mode in ASKED:  # start environments and load data
                    stack.index.search(queries[:batch], K, mode=mode)
                hops.append(measure_hop(stack, queries))
                predictions += [predict(stack, index, queries, batch, mode, hops[-1]) for batch, mode in ASKED]
    hop_times = ", ".join(f"{1e3 * hop.seconds:.1f} ms and {1e-6 / max(hop.byte, 1e-12):.0f} MB/s" for hop in hops)
    facts = [
        f"- machine: {report.machine()}; load average of the last 15 minutes at the end: {os.getloadavg()[2]:.1f}",
        "- data: the wordnet-10k sample, its held-out queries, everything warm; k = 10",
        f"- an invocation as measured here, besides the function: {hop_times} (`vsearch cost` assumes 5 ms and 50 MB/s)",
        (
            "- the forecast is for functions that have a machine each, as on AWS. Here all of them share this machine's cores: where "
            "several run at once, as in trees, the bills contain what they wait for each other"
        ),
        f"- date: {report.today()}",
    ]
    text = "\n\n".join(["## Serverless: forecasts", "\n".join(facts), table_of(predictions)])
    report.replace(RESULTS, "serverless forecast", text)
    print(text)


if __name__ == "__main__":
    main()
