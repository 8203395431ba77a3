"""Compilation, caching and loading of kernels."""
