"""Number centroids so that the Hamming distance of numbers follows their distance, by simulated annealing."""

from __future__ import annotations

import numpy as np

from vsearch.kernels.toolchain.compiling import inlined, kernel


@inlined
def _random(state):
    """Return the next 31 random bits (a 64-bit linear congruential generator)."""
    state[0] = state[0] * np.int64(6364136223846793005) + np.int64(1442695040888963407)
    return (state[0] >> np.int64(33)) & np.int64(0x7FFFFFFF)


@kernel
def swap_numbers(targets, weights, ones, numbers, state, iterations, temperature):
    """Minimize ``sum of weights * (Hamming distance - target)^2`` by simulated annealing, in place.

    Parameters
    ----------
    targets, weights : float32 (centroids, centroids)
        Symmetric; targets are in bits, weights are 0 on the diagonal.
    ones : uint8 (numbers,)
        Number of set bits of every number.
    numbers : int64 (numbers,)
        The first `centroids` entries are the centroids' numbers, the others are unassigned.
    state : int64 (1,)
        State of the random generator.
    iterations : int
    temperature : float
        Initial temperature, in units of the objective; decreases linearly to zero.
    """
    centroids, available = targets.shape[0], numbers.shape[0]
    for iteration in range(iterations):
        i = _random(state) % centroids
        j = _random(state) % available
        if i == j:
            continue
        number, other = numbers[i], numbers[j]
        change = np.float32(0.0)
        for k in range(centroids):
            if k in (i, j):
                continue
            before, after = np.float32(ones[number ^ numbers[k]]), np.float32(ones[other ^ numbers[k]])
            change += weights[i, k] * (after - before) * (after + before - np.float32(2.0) * targets[i, k])
            if j < centroids:
                change += weights[j, k] * (before - after) * (after + before - np.float32(2.0) * targets[j, k])
        heat = temperature * np.float32(iterations - iteration) / np.float32(iterations)
        chance = np.float32(_random(state)) / np.float32(2147483648.0)
        if change < np.float32(0.0) or (heat > np.float32(0.0) and chance < np.exp(-change / heat)):
            numbers[i], numbers[j] = other, number
