"""The discrete-event simulation of a stack: what it must conserve, and what hedging must bring."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("simpy")

from bench.simulation_events import Costs, Network, Shape, Simulation

COSTS = Costs(coordinate=1e-3, plan=1e-3, call=1e-4, process=1e-3, scan=1e-4)
STEADY = Network(hop=0.005, spread=0.0, straggling=0.0, pause=0.0, cold=0.5)


def test_a_single_query_takes_the_sum_of_its_path():
    run = Simulation(COSTS, STEADY).run(Shape(1, 0, 4, 8, 1.0))
    assert run.seconds == pytest.approx(0.005 + 1e-3 + 1e-3 + 1e-4 + 0.005 + 1e-3 + 1e-4)
    assert run.invocations == {"coordinator": 1, "allocator": 0, "processor": 1}
    assert run.billed["processor"] == pytest.approx(1.1e-3)


@pytest.mark.parametrize("allocators", [1, 5, 20, 84])
def test_every_allocator_and_every_call_is_counted(allocators):
    run = Simulation(COSTS, STEADY, warm=1000).run(Shape(allocators * 3, allocators, 4, 1000, 2.0))
    assert run.invocations["allocator"] == allocators
    assert run.invocations["processor"] <= allocators * 3 * 2
    assert run.invocations["processor"] > allocators * 3 * 2 * 0.98  # queries of one allocator hardly share a shard
    assert run.cold == 0


def test_shared_cores_take_as_long_as_the_work():
    shape = Shape(60, 20, 4, 16, 3.0)
    alone, shared = Simulation(COSTS, STEADY, warm=99), Simulation(COSTS, STEADY, warm=99, cores=2)
    run, slow = alone.run(shape), shared.run(shape)
    work = 1e-3 + 60 * 1e-3 + run.invocations["processor"] * 1e-3
    assert slow.seconds > work / 2
    assert run.seconds < work / 2


def test_environments_stay_warm():
    simulation = Simulation(COSTS, STEADY, warm=0)
    shape = Shape(1, 0, 4, 1, 1.0)
    first, second = simulation.run(shape), simulation.run(shape)
    assert (first.cold, second.cold) == (1, 0)
    assert first.seconds == pytest.approx(second.seconds + 0.5)


@pytest.mark.parametrize("warm", [1, 2])
def test_hedged_calls_help_if_a_second_environment_is_warm(warm):
    network = Network(hop=0.005, spread=0.2, straggling=0.02, pause=0.4, cold=2.0)
    shape = Shape(1, 0, 4, 50, 20.0)

    def tail(hedge):
        simulation = Simulation(COSTS, network, hedge=hedge, warm=warm, seed=1)
        return float(np.percentile([simulation.run(shape).seconds for _ in range(200)], 90))

    assert tail(0.05) < (0.5 if warm == 2 else 1.2) * tail(None)


def test_the_share_of_hedged_calls_is_bounded_and_billed():
    network = Network(hop=0.2, spread=0.0, straggling=0.0, pause=0.0, cold=0.0)
    simulation = Simulation(COSTS, network, hedge=0.01, warm=9)
    runs = [simulation.run(Shape(1, 0, 4, 50, 10.0)) for _ in range(50)]
    hedged, calls = sum(run.hedged for run in runs), sum(run.invocations["processor"] for run in runs)
    assert 0 < hedged <= 0.1 * calls + 8
    assert calls == 50 * 10 + hedged
