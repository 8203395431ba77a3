"""Documents of many vectors: codec, build, opening, MaxSim and search."""
