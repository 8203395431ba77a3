"""The architecture of a text encoder: sizes, pooling, prompts and limits."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from vsearch.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

LARGEST_BASE = 1e9
LARGEST_WIDTH, MOST_LAYERS, MOST_TOKENS, MOST_POSITIONS = 8192, 96, 2_000_000, 65_536
LONGEST_INPUT = 8192
"""Maximum number of tokens of a text. The time of attention grows with its square, and models may claim any length."""

LONGEST_PROMPT, MOST_PROMPTS = 10_000, 1000
POOLINGS = ("mean", "cls")
ACTIVATIONS = ("identity", "tanh")


@dataclass(frozen=True)
class Architecture:
    """Configuration of a BERT or ModernBERT encoder.

    Attributes
    ----------
    width : int
        Dimensions of the hidden states.
    layers, heads, inner : int
        Number of transformer layers, attention heads per layer, and width of the feed-forward layers.
    tokens, positions : int
        Number of token embeddings, and of positions that the model can distinguish.
    length : int
        Maximum number of tokens of a text, including the first and the last; longer texts are truncated.
    epsilon : float
        Added to the variance in layer normalization.
    pooling : {"mean", "cls"}
        The vector of a text is the mean of its tokens' vectors, or that of the first token.
    dense : tuple of (int, str)
        Dense modules after pooling: width and activation of each.
    normalized : bool
        Whether vectors are scaled to norm 1.
    prompts : dict of str to str
        Prefixes of texts, by name.
    prompt : str or None
        Name of the default prompt for queries.
    rotary : tuple of (float, int)
        For each layer of ModernBERT: the base of the rotary positions, and the distance up to which tokens attend to others, or 0
        for any. Empty for BERT, which adds position embeddings to those of the tokens.
    """

    width: int
    layers: int
    heads: int
    inner: int
    tokens: int
    positions: int
    length: int
    epsilon: float = 1e-12
    pooling: str = "mean"
    dense: tuple[tuple[int, str], ...] = ()
    normalized: bool = True
    prompts: Mapping[str, str] = field(default_factory=dict)
    prompt: str | None = None
    rotary: tuple[tuple[float, int], ...] = ()

    @property
    def dimensions(self) -> int:
        """Dimensions of a vector."""
        return self.dense[-1][0] if self.dense else self.width

    @property
    def head_width(self) -> int:
        return self.width // self.heads

    def find_prompt(self, prompt: str | None) -> str:
        """Return a prompt by name; if None, the default prompt for queries, or an empty string.

        Raises
        ------
        InputError
            There is no prompt with this name.
        """
        name = self.prompt if prompt is None else prompt
        if not name:
            return ""
        if name not in self.prompts:
            known = ", ".join(sorted(self.prompts)) or "none"
            raise InputError(f"prompt must be the name of a prompt of the model (known: {known}) or '', got {name!r}")
        return self.prompts[name]

    def to_dict(self) -> dict[str, Any]:
        """Return the configuration as JSON values."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        values |= {"dense": [list(module) for module in self.dense], "prompts": dict(self.prompts)}
        values["rotary"] = [list(layer) for layer in self.rotary]
        if not self.rotary:
            del values["rotary"]  # unknown to earlier versions
        return values

    @classmethod
    def from_dict(cls, values: Any) -> Architecture:
        """Return the configuration from the result of `to_dict`.

        Raises
        ------
        InputError
            A value is missing or out of range.
        """
        if not isinstance(values, dict):
            raise InputError(f"an architecture must be an object, got {type(values).__name__}")
        names = [entry.name for entry in fields(cls) if entry.name != "rotary"]
        missing = [name for name in names if name not in values]
        if missing:
            raise InputError(f"missing in the architecture: {', '.join(missing)}")
        dense = values["dense"]
        if not isinstance(dense, list) or not all(isinstance(module, list) and len(module) == 2 for module in dense):
            raise InputError("dense must be a list of pairs of a width and an activation")
        rotary = values.get("rotary", [])
        if not isinstance(rotary, list) or not all(isinstance(layer, list) and len(layer) == 2 for layer in rotary):
            raise InputError("rotary must be a list of pairs of a base and a distance")
        pairs = {"dense": tuple((width, kind) for width, kind in dense)}
        architecture = cls(
            **{name: values[name] for name in names} | pairs,
            rotary=tuple((base, distance) for base, distance in rotary),
        )
        architecture.check()
        return architecture

    def check(self) -> None:
        """Check the ranges and the consistency of all values.

        Raises
        ------
        InputError
            A value is out of range, or values do not fit together.
        """
        limits = {
            "width": LARGEST_WIDTH,
            "layers": MOST_LAYERS,
            "heads": LARGEST_WIDTH,
            "inner": 8 * LARGEST_WIDTH,
            "tokens": MOST_TOKENS,
            "positions": MOST_POSITIONS,
            "length": MOST_POSITIONS,
        }
        for name, most in limits.items():
            check_size(name, getattr(self, name), most)
        for width, activation in self.dense:
            check_size("width of a dense module", width, LARGEST_WIDTH)
            if activation not in ACTIVATIONS:
                raise InputError(f"activation of a dense module must be one of {ACTIVATIONS}, got {activation!r}")
        if self.width % self.heads:
            raise InputError(f"heads must divide the width {self.width}, got {self.heads}")
        if not 2 <= self.length <= self.positions:
            raise InputError(f"length must be from 2 to the model's {self.positions} positions, got {self.length}")
        self._check_rotary()
        if not isinstance(self.epsilon, float) or not 0 < self.epsilon < 1:
            raise InputError(f"epsilon must be a number between 0 and 1, got {self.epsilon!r}")
        if self.pooling not in POOLINGS:
            raise InputError(f"pooling must be one of {POOLINGS}, got {self.pooling!r}")
        if not isinstance(self.normalized, bool):
            raise InputError(f"normalized must be true or false, got {self.normalized!r}")
        prompts = self.prompts
        if not isinstance(prompts, dict) or not all(isinstance(text, str) for pair in prompts.items() for text in pair):
            raise InputError("prompts must be a dict of strings by name")
        if len(prompts) > MOST_PROMPTS:
            raise InputError(f"there must be at most {MOST_PROMPTS} prompts, got {len(prompts)}")
        for name, text in prompts.items():
            if max(len(name), len(text)) > LONGEST_PROMPT:
                raise InputError(
                    f"prompts must have at most {LONGEST_PROMPT} characters, {name!r:.100} has {len(text)}"
                )
            if not (is_unicode(name) and is_unicode(text)):
                raise InputError(f"prompts must be valid Unicode, {name!r:.100} contains lone surrogates")
        if self.prompt is not None and self.prompt not in prompts:
            raise InputError(f"prompt must be the name of a prompt, got {self.prompt!r}")

    def _check_rotary(self) -> None:
        if not self.rotary:
            return
        if len(self.rotary) != self.layers:
            raise InputError(f"rotary must have an entry for each of {self.layers} layers, got {len(self.rotary)}")
        if self.head_width % 2:
            raise InputError(f"rotary positions require heads of even width, got {self.head_width}")
        for base, distance in self.rotary:
            if not isinstance(base, float) or not 1 <= base <= LARGEST_BASE:
                raise InputError(f"base of rotary positions must be a number from 1 to {LARGEST_BASE:g}, got {base!r}")
            if type(distance) is not int or not 0 <= distance <= MOST_POSITIONS:
                raise InputError(
                    f"distance of attention must be an integer from 0 to {MOST_POSITIONS}, got {distance!r}"
                )


def is_unicode(text: str) -> bool:
    """Whether a text can be stored as UTF-8, which lone surrogates cannot."""
    return not any("\ud800" <= char <= "\udfff" for char in set(text))


def check_size(name: str, value: Any, most: int) -> int:
    """Return an integer from 1 to `most`.

    Raises
    ------
    InputError
        The value is not an integer, or out of range.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise InputError(f"{name} must be an integer from 1 to {most}, got {value!r}")
    return value
