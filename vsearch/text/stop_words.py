"""A short list of English words that say little about a text."""

from __future__ import annotations

_LIST = """
a an and are as at be but by for from had has have he her his i if in into is it its no not of on or s she so such t that
the their them then there these they this to was we were which will with you your
"""

ENGLISH = tuple(_LIST.split())
