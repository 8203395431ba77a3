"""Compiled loops over arrays, without Python objects or I/O."""
