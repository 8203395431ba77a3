"""Kernels of the fusion of two rankings."""
