"""Text search: words of text columns, ranked by BM25, with postings in the same segments as the vectors."""
