"""Text columns: their settings, and their entries in the manifest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import uuid4

from vsearch.checks import is_number
from vsearch.errors import FormatVersionError, InputError
from vsearch.storage.snapshots.text_entries import AnalyzerEntry, TextColumnEntry, TextEntry
from vsearch.text.analyzer import VERSION, Analyzer, Settings
from vsearch.text.stemming import stemmed_languages, stemmer, stemmer_version
from vsearch.text.stop_words import ENGLISH
from vsearch.text.tokens import TokenAnalyzer

MOST_COLUMNS = 64
MOST_STOP_WORDS = 10_000
LEAST_WEIGHT, MOST_WEIGHT = 1e-6, 1e6


@dataclass(frozen=True)
class TextColumn:
    """How the words of a text column are searched.

    Attributes
    ----------
    weight : float
        Factor for its scores, 0.000001 to 1,000,000.
    language : str or None
        Language of the Snowball stemmer that reduces words to their stems, such as ``"english"``. Every process that changes or
        searches the index then needs the package snowballstemmer (``pip install 'vsearch[text]'``). With None, words match as written.
    stop_words : bool or iterable of str
        Words that are ignored in texts and queries; True for a short English list.
    fold : bool
        Whether accents are ignored. Case always is.
    k1 : float
        Saturation of BM25, 0 to 1,000: with larger values, repetitions of a word raise the score further.
    b : float
        Length normalization of BM25: how much long texts are discounted, 0 to 1.
    phrases : bool
        Whether to store the positions of words, so that queries may have phrases in quotes. Postings are then about a third to
        six tenths larger.
    tokens : bool
        Whether the attribute has lists of strings, which are taken as words unchanged, cut to 128 characters.
        `language`, `stop_words` and `fold` do not apply.

    Raises
    ------
    InputError
        A setting is invalid.
    MissingDependencyError
        `language` is set, and snowballstemmer is not installed.
    """

    weight: float = 1.0
    language: str | None = None
    stop_words: bool | Iterable[str] = False
    fold: bool = True
    k1: float = 1.2
    b: float = 0.75
    phrases: bool = False
    tokens: bool = False

    def __post_init__(self) -> None:
        for name, low, high in (("weight", LEAST_WEIGHT, MOST_WEIGHT), ("k1", 0, 1e3), ("b", 0, 1)):
            value = getattr(self, name)
            if not (is_number(value) and low <= value <= high):
                raise InputError(
                    f"{name} of a text column must be a number from {low:g} to {high:g}, got {value!r:.100}"
                )
        for name in ("fold", "phrases", "tokens"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"{name} of a text column must be True or False, got {getattr(self, name)!r:.100}")
        if self.language is not None:
            if not isinstance(self.language, str):
                raise InputError(f"language of a text column must be a name or None, got {self.language!r:.100}")
            known = stemmed_languages()
            if known and self.language not in known:
                raise InputError(f"language must be one of {', '.join(known)}, got {self.language!r:.100}")
            stemmer(self.language)
        object.__setattr__(self, "stop_words", _stop_words(self.stop_words))
        if self.tokens and (self.language is not None or self.stop_words or not self.fold):
            raise InputError(
                "language, stop_words and fold of a column of tokens must be left out: tokens are not analyzed"
            )

    def entry(self, field: str, key: str) -> TextColumnEntry:
        """Return the manifest entry of the column, given its field and the key of its postings."""
        stop_words: Any = self.stop_words
        stems = None if self.language is None else stemmer_version()
        analyzer = AnalyzerEntry(VERSION, self.language, stop_words, self.fold, stems)
        return TextColumnEntry(
            key, field, float(self.weight), float(self.k1), float(self.b), analyzer, self.phrases, self.tokens
        )


def _stop_words(stop_words: Any) -> tuple[str, ...]:
    if isinstance(stop_words, bool):
        return ENGLISH if stop_words else ()
    words = None if isinstance(stop_words, str) or not isinstance(stop_words, Iterable) else tuple(stop_words)
    if words is None or not all(isinstance(word, str) for word in words) or len(words) > MOST_STOP_WORDS:
        raise InputError(
            f"stop_words must be True, False or at most {MOST_STOP_WORDS} strings, got {stop_words!r:.100}"
        )
    return tuple(sorted(set(words)))


def read_columns(text: Any) -> dict[str, TextColumn]:
    """Return text columns by name from the argument of `vsearch.build`: a name, a list of names, or a mapping to weights or `TextColumn`.

    Raises
    ------
    InputError
        The argument has another form, or names too many columns.
    """
    if isinstance(text, str):
        named: dict[Any, Any] = {text: TextColumn()}
    elif isinstance(text, Mapping):
        named = dict(text)
    elif isinstance(text, list | tuple):
        named = dict.fromkeys(text, TextColumn())
    else:
        raise InputError(
            f"text must be a column name, a list of names, or a dict from names to weights, got {text!r:.100}"
        )
    columns: dict[str, TextColumn] = {}
    for name, value in named.items():
        if not isinstance(name, str):
            raise InputError(f"the name of a text column must be a string, got {name!r:.100}")
        columns[name] = value if isinstance(value, TextColumn) else TextColumn(weight=value)
    if not 0 < len(columns) <= MOST_COLUMNS:
        raise InputError(f"text must name 1 to {MOST_COLUMNS} columns, got {len(columns)}")
    return columns


def check_columns(tokens: Mapping[str, bool], kinds: Mapping[str, str]) -> None:
    """Check that columns are attributes of strings, or of lists of tokens; `kinds` has the types of all attributes by name.

    Raises
    ------
    InputError
        A column is not an attribute, or has another type.
    """
    for name, has_tokens in tokens.items():
        if name not in kinds:
            raise InputError(
                f"the text column {name!r} must be an attribute; the attributes are: {', '.join(kinds) or 'none'}"
            )
        if kinds[name] != ("list<string>" if has_tokens else "string"):
            holds = (
                "lists of strings, since it has tokens" if has_tokens else "strings, or be a TextColumn(tokens=True)"
            )
            raise InputError(f"the text column {name!r} must hold {holds}, got {kinds[name]}")


def new_entry(columns: Mapping[str, TextColumn], fields: Mapping[str, str]) -> TextEntry:
    """Return the manifest entry of the text columns of a new index, from settings and field names by column name.

    Keys of postings are unique, so postings of a dropped column are never mistaken for those of another.
    """
    return TextEntry(tuple(column.entry(fields[name], uuid4().hex[:12]) for name, column in columns.items()))


@lru_cache(maxsize=64)
def _settings(entry: AnalyzerEntry) -> Settings:
    return Settings(entry.language, entry.stop_words, entry.fold)


def analyzer_of(entry: TextColumnEntry) -> Analyzer | TokenAnalyzer:
    """Return a new analyzer for a column, for use by one thread.

    Raises
    ------
    FormatVersionError
        The rules or the stemmers are of another version.
    MissingDependencyError
        Stemming requires snowballstemmer, which is not installed.
    """
    if entry.tokens:
        return TokenAnalyzer()
    if entry.analyzer.version != VERSION:
        raise FormatVersionError(
            f"the texts of this index were split into words by version {entry.analyzer.version} of the rules, but this "
            f"vsearch has version {VERSION}: upgrade vsearch"
        )
    stems = entry.analyzer.stemmer
    if stems is not None and _release(stems) != _release(stemmer_version()):
        raise FormatVersionError(
            f"the words of this index were stemmed by snowballstemmer {stems:.30}, but {stemmer_version():.30} is installed and may stem "
            f"differently: install snowballstemmer=={'.'.join(_release(stems)):.30}.*, or use drop_text, add_text and optimize"
        )
    return Analyzer(_settings(entry.analyzer))


def _release(version: str) -> list[str]:
    return version.split(".")[:2]
