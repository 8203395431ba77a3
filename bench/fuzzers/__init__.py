"""Seeded attempts to break what must hold: each a plain function of a seed and a number of tries."""
