"""Building an index in bounded memory: inputs, partitioning and the streaming pipeline."""
