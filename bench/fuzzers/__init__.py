"""Seeded fuzzers for invariants: each is a plain function of a seed and a number of tries."""
