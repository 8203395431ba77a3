"""Builds divided into many tasks: the data that each task reads and writes, and the order of the stages. An engine such as dask runs the tasks."""
