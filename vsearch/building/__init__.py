"""Building an index: sources, partitioning and the streaming pipeline, in bounded memory."""
