"""Learned sparse vectors as a leg of search: rows with weights of terms, as computed by SPLADE and similar encoders."""
