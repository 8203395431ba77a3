"""Learned sparse vectors as a leg of search: rows with weights of terms, as SPLADE and similar encoders give them."""
