"""Changes of an index while it is being searched: adding, replacing and removing rows, and maintenance."""
