"""The peers of vsearch, and vsearch itself, behind one protocol.

These modules import their library only when they build, so that a missing library is reported as absent and the others still run.
"""

from __future__ import annotations

from bench.peers.faiss_flat import FaissFlat
from bench.peers.faiss_ivf import FaissIvf
from bench.peers.hnsw import Hnsw
from bench.peers.lance import Lance
from bench.peers.ours import Ours
from bench.peers.protocol import Contestant
from bench.peers.rabitqlib import RabitqIvf, SymphonyQG
from bench.peers.scan import Scan
from bench.peers.scann import Scann
from bench.peers.svs import Svs
from bench.peers.turbovec import Turbovec


def searchers() -> list[Contestant]:
    """Contestants of ``bench.search``: recall against speed."""
    return [
        Ours(),
        Ours(spill=True),
        FaissIvf("faiss-ivfpq-4d", "PQ{q}x4fs"),
        FaissIvf("faiss-ivfpq-8d", "PQ{h}x4fs"),
        FaissIvf("faiss-ivfpq-4d-sq8", "PQ{q}x4fs", refine="Refine(SQ8)"),
        FaissIvf("faiss-ivfrabitq", "RaBitQfs"),
        FaissIvf("faiss-ivfrabitq-rr", "RaBitQfs", rotation="RR{d}"),
        Scann(),
        RabitqIvf(7),
        RabitqIvf(32),
        Turbovec(4),
        Turbovec(4, rerank=True),
        Turbovec(2, rerank=True),
        Hnsw(16),
        SymphonyQG(),
        Svs("lvq4x8"),
        Svs("leanvec"),
        Svs("float16"),
    ]


def estimators() -> list[Contestant]:
    """Contestants of ``bench.recall``: codes alone, scanned exhaustively."""
    ours = [
        Ours(bits=bits, rerank=None, quantizer=quantizer, tuned=(), exhaustive=True)
        for quantizer in ("osq", "osq-lloyd")
        for bits in (0.5, 1.0, 2.0, 4.0)
    ]
    product = [
        FaissFlat(f"faiss-{name}{size}x{bits}", factory, bytes=size, bits=bits)
        for name, factory, sizes in (
            ("pq", "PQ{m}x{b}", ((24, 4), (24, 8), (48, 4), (48, 8), (96, 4), (192, 4))),
            ("opq", "OPQ{m}_{d},PQ{m}x{b}", ((24, 8), (48, 4), (48, 8), (96, 4))),
        )
        for size, bits in sizes
    ]
    residual = [
        FaissFlat(f"faiss-ivfpq{size}x{bits}", "IVF{n},PQ{m}x{b}", bytes=size, bits=bits, residual=True)
        for size, bits in ((24, 4), (48, 4), (48, 8), (96, 4))
    ]
    levels = range(1, 5)
    rabitq = [FaissFlat(f"faiss-rabitq{n}", "RR{d},RaBitQ" + (str(n) if n > 1 else "")) for n in levels]
    rabitq += [
        FaissFlat(f"faiss-ivfrabitq{n}", "RR{d},IVF{n},RaBitQ" + (str(n) if n > 1 else ""), residual=True)
        for n in levels
    ]
    return [*ours, *product, *residual, *rabitq, Turbovec(2), Turbovec(4)]


def filterers() -> list[Contestant]:
    """Contestants of ``bench.filters``: those that support filters."""
    return [
        Ours(tuned=(0.95, 0.99)),
        Hnsw(16),
        Lance(),
        FaissIvf("faiss-ivfflat", "Flat", refine=""),
        Turbovec(4, rerank=True),
        Scan(),
    ]


def millions() -> list[Contestant]:
    """Contestants of ``bench.million``; graphs are built with fewer candidates, to finish in ten minutes on one core."""
    return [
        Ours(),
        Ours(rerank="float16"),
        FaissIvf("faiss-ivfpq-2d", "PQ{t}x4fs"),
        Scann(),
        Svs("float16", window=80),
        Hnsw(16, ef_construction=80),
    ]


SETS = {"search": searchers, "recall": estimators, "filters": filterers, "million": millions}
