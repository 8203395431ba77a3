"""The version of the package, apart, so that whoever only asks for it loads nothing else."""

__version__ = "0.1.0"
