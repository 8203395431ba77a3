"""The fused query: rotate, route, plan and scan partitions in one native call."""
