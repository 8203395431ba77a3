"""The version of the package, in a module without imports, so that reading it loads nothing else."""

__version__ = "0.1.0"
