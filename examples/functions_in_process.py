"""Search through functions without a cloud account: a coordinator, allocators and one processor per shard, and their bill.

The functions run in this process, and their messages are those that AWS Lambda would carry. ``vsearch faas up`` runs packages in
processes of their own instead, and ``vsearch.open("lambda://stack")`` calls a deployed stack; both return the same kind of
index. The imports from `vsearch.fanout` and `vsearch.storage` are not part of the public interface.

Run it with ``python examples/functions_in_process.py``.
"""

from __future__ import annotations

import tempfile

import vsearch
from vsearch.fanout.calls.invoker import Names
from vsearch.fanout.platforms.in_process import LocalInvoker
from vsearch.fanout.roles.worker import Worker
from vsearch.fanout.wire.envelope import Envelope
from vsearch.storage import open_store

SHARDS = 4
WHERE = "pos = 'verb' AND has_example"


def functions_of(url: str, stack: str) -> vsearch.RemoteIndex:
    """Return the index at a URL, searched by functions in this process, which start cold."""
    names = Names(stack)

    def start(function: str) -> Worker:
        return Worker.open(names.role(function), open_store(url), function, invoker=invoker, names=names)

    invoker = LocalInvoker(start)
    return vsearch.RemoteIndex(f"in-process://{stack}", names, invoker, Envelope())


def main() -> None:
    """Print the results of functions and what AWS would charge for them, cold and warm."""
    sample = vsearch.datasets.load("wordnet-10k")
    with tempfile.TemporaryDirectory() as folder:
        url = f"{folder}/glosses"
        direct = vsearch.build(sample.vectors, url, attributes=sample.attributes, shards=SHARDS)
        remote = functions_of(url, "glosses")
        for state in ("cold", "warm"):
            hits = remote.search(sample.queries[:20], k=5, where=WHERE, mode="tree", columns=["text"], exact=True)
            print(f"{state}: {hits.bill}")
        for role in ("coordinator", "allocator", "processor"):
            used = getattr(hits.bill.usages, role)
            print(f"  {role}: {used.invocations} invocations, {used.seconds * 1000:.0f} ms, {used.requests} requests")
        assert hits.ids.tolist() == direct.search(sample.queries[:20], k=5, where=WHERE, exact=True).ids.tolist()
        print(f"\n{sample.query_texts[0]!r} WHERE {WHERE}")
        for row in hits.to_arrow().to_pylist()[:5]:
            print(f"  {row['score']:.3f}  {row['text']}")


if __name__ == "__main__":
    main()
