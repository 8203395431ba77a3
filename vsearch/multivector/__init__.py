"""Multi-vector documents: codec, build, opening, MaxSim and search."""
