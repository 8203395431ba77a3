"""Legs of search: ways to find rows other than by vectors, such as the words of texts, whose rankings can be fused with theirs."""
