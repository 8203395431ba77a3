"""Kernels of multi-vector documents: MaxSim, encodings, inverted lists."""
