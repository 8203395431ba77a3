"""Snowball stemmers, which reduce words to their stems."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pkgutil import iter_modules
from typing import TYPE_CHECKING

from vsearch.errors import MissingDependencyError

if TYPE_CHECKING:
    from collections.abc import Callable


def stemmer(language: str) -> Callable[[str], str]:
    """Return the Snowball stemmer of a language: always the one in Python, which stems the same on all machines.

    Raises
    ------
    MissingDependencyError
        The package snowballstemmer is not installed, or does not know the language.
    """
    try:
        import snowballstemmer  # noqa: F401
    except ImportError:
        raise MissingDependencyError(
            "stemming requires the package snowballstemmer: pip install 'vsearch[text]'", name="snowballstemmer"
        ) from None
    if language not in stemmed_languages():
        raise MissingDependencyError(
            f"the installed snowballstemmer has no stemmer for {language!r:.100}; upgrade it", name="snowballstemmer"
        )
    module = import_module(f"snowballstemmer.{language}_stemmer")
    name = "".join(part.capitalize() for part in language.split("_")) + "Stemmer"
    return getattr(module, name)().stemWord


def stemmed_languages() -> list[str]:
    """Return the languages that have a Snowball stemmer, if the package is installed."""
    try:
        import snowballstemmer
    except ImportError:
        return []
    names = (module.name for module in iter_modules(snowballstemmer.__path__))
    return sorted(name.removesuffix("_stemmer") for name in names if name.endswith("_stemmer"))


def stemmer_version() -> str:
    """Return the version of the installed stemmers; releases of the same first two numbers stem alike.

    Raises
    ------
    MissingDependencyError
        snowballstemmer is not installed.
    """
    try:
        return version("snowballstemmer")
    except PackageNotFoundError:
        raise MissingDependencyError(
            "stemming requires the package snowballstemmer: pip install 'vsearch[text]'", name="snowballstemmer"
        ) from None
