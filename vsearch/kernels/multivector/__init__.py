"""Kernels for multi-vector documents: MaxSim, encodings, inverted lists."""
