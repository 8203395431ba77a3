"""The HTTP API of the functions as a server on this machine; needs ``pip install vsearch[serve]``."""
