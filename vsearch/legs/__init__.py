"""Legs of search beside the vectors: ways to find rows whose rankings are fused with those of vectors, such as the words of texts."""
