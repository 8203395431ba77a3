"""The steps of one query: mask, route, plan, scan, merge."""
