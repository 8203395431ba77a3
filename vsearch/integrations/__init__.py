"""Adapters for other libraries. Each module needs the extra of its name, such as ``pip install vsearch[langchain]``."""
