"""Changes of an index that is searched meanwhile: rows added, replaced and removed, and what keeps it fast."""
