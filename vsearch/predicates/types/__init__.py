"""The attribute types, one record each: see `vsearch.predicates.types.table`."""
