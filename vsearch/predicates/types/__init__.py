"""What there is to know of each attribute type, one record each: see `vsearch.predicates.types.table`."""
