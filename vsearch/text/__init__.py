"""The text leg of an index: words of text columns, ranked by BM25, in the segments of the vectors."""
