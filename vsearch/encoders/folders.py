"""Read the configuration of models saved by sentence-transformers, without running any of their code."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from vsearch.encoders.architecture import (
    ACTIVATIONS,
    LONGEST_INPUT,
    MOST_LAYERS,
    MOST_TOKENS,
    Architecture,
    check_size,
)
from vsearch.encoders.bpe_files import read_byte_pairs
from vsearch.encoders.modern_files import read_rotary
from vsearch.encoders.tensors import Tensors
from vsearch.encoders.tokenizing import Tokenizer
from vsearch.encoders.unigram_files import read_unigram
from vsearch.encoders.vocabularies import make_tokenizer
from vsearch.encoders.wordpiece import Normalization, WordPiece
from vsearch.errors import InputError

LARGEST_CONFIGURATION, LARGEST_VOCABULARY = 1 << 20, 64 << 20
"""Maximum size of a configuration file, and of a vocabulary or description of a tokenizer, in bytes. Parsed JSON may take some 20
times as much memory."""

VOCABULARIES = ("tokenizer.json", "vocab.txt")

MODERN = "modernbert"
OFFSET = ("roberta", "xlm-roberta")
"""Types of models in which the first position does not have the first embedding."""

KINDS = ("bert", *OFFSET, MODERN)
Reader: TypeAlias = Callable[[str, Mapping[str, Any], int], Tokenizer]
"""Reads a tokenizer from the name of its description, the description, and the number of token embeddings."""

LIBRARY = "sentence_transformers."
WEIGHTS = "model.safetensors"
CONFIGURATIONS = ("sentence_bert_config.json", "sentence_xlnet_config.json")


class ModelFiles:
    """The files of a model, in a folder or in memory.

    Parameters
    ----------
    source : path or mapping of str to bytes

    Attributes
    ----------
    used : set of str
        Paths of the files that were read.
    """

    def __init__(self, source: str | Path | Mapping[str, bytes]) -> None:
        self.used = set[str]()
        self._contents = source if isinstance(source, Mapping) else None
        self.name = "encoder" if isinstance(source, Mapping) else str(source)
        self._root = None if isinstance(source, Mapping) else Path(source)
        if self._root is not None and not self._root.is_dir():
            raise InputError(f"the encoder must be a folder, got {self.name!r}")

    def read(self, path: str) -> bytes | None:
        """Return the bytes of a configuration or vocabulary; None if there is no such file."""
        most = LARGEST_VOCABULARY if path.endswith(VOCABULARIES) else LARGEST_CONFIGURATION
        if self._root is None:
            content = None if self._contents is None else self._contents.get(path)
            size = 0 if content is None else len(content)
        else:
            place, content = self._root / path, None
            if not place.is_file():
                return None
            size = place.stat().st_size
        if size > most:
            raise InputError(f"{self.name}/{path} must have at most {most} bytes, got {size}")
        self.used.add(path)
        return content if self._root is None else (self._root / path).read_bytes()

    def read_json(self, path: str) -> dict[str, Any] | None:
        """Return the object in a JSON file; None if the file does not exist."""
        content = self._parse(path)
        if content is not None and not isinstance(content, dict):
            raise InputError(f"{self.name}/{path} must contain a JSON object, got {type(content).__name__}")
        return content

    def read_list(self, path: str) -> list[Any] | None:
        """Return the list in a JSON file; None if the file does not exist."""
        content = self._parse(path)
        if content is not None and not isinstance(content, list):
            raise InputError(f"{self.name}/{path} must contain a JSON list, got {type(content).__name__}")
        return content

    def tensors(self, folder: str) -> Tensors:
        """Return the weights of a module."""
        path = join(folder, WEIGHTS)
        self.used.add(path)
        if self._root is not None and (self._root / path).is_file() and (self._root / path).stat().st_size:
            return Tensors(np.memmap(self._root / path, np.uint8, "r"), f"{self.name}/{path}")
        data = None if self._contents is None else self._contents.get(path)
        if data is None and not (self._root is not None and (self._root / path).is_file()):
            raise InputError(f"{self.name}: {path} is missing; save the model as safetensors")
        data = b"" if data is None else data
        return Tensors(np.frombuffer(data, np.uint8), f"{self.name}/{path}")

    def _parse(self, path: str) -> Any:
        data = self.read(path)
        if data is None:
            return None
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{self.name}/{path} is not valid JSON: {error}") from None


def join(folder: str, name: str) -> str:
    """Return a path within the model."""
    return f"{folder}/{name}" if folder else name


class Modules:
    """The chain of modules of a model.

    Attributes
    ----------
    transformer : str
        Folder of the transformer.
    pooling : str or None
        Folder of the pooling module.
    dense : list of str
        Folders of the dense modules.
    normalized : bool
    """

    def __init__(self, files: ModelFiles) -> None:
        self.transformer, self.normalized = "", False
        self.pooling: str | None = None
        self.dense: list[str] = []
        modules = files.read_list("modules.json")
        if modules is None:
            return  # a bare transformer: mean pooling, as in sentence-transformers
        kinds = [self._add(files.name, module) for module in modules]
        if kinds[:2] != ["Transformer", "Pooling"] or kinds[2:] != sorted(kinds[2:]) or kinds.count("Normalize") > 1:
            order = "Transformer, Pooling, any Dense, Normalize"
            raise InputError(f"{files.name}/modules.json: modules must be {order}, got {', '.join(kinds) or 'none'}")

    def _add(self, name: str, module: Any) -> str:
        kind, path = (module.get("type"), module.get("path")) if isinstance(module, dict) else (None, None)
        if not isinstance(kind, str) or not isinstance(path, str):
            raise InputError(f"{name}/modules.json: a module must have a type and a path")
        if path.startswith("/") or "\\" in path or ".." in path.split("/"):
            raise InputError(f"{name}/modules.json: a path must lie within the model, got {path!r}")
        short = kind.rpartition(".")[2] if kind.startswith(LIBRARY) else kind
        if short == "Transformer":
            self.transformer = path
        elif short == "Pooling":
            self.pooling = path
        elif short == "Dense":
            if path in self.dense:
                raise InputError(f"{name}/modules.json: each dense module must have its own path, got {path!r} twice")
            self.dense.append(path)
        elif short == "Normalize":
            self.normalized = True
        else:
            raise InputError(f"{name}/modules.json: modules of the type {kind!r} are not supported")
        return short


def read_architecture(files: ModelFiles, modules: Modules) -> Architecture:
    """Read the architecture of a model.

    Raises
    ------
    InputError
        It is not a BERT or ModernBERT encoder, or uses unsupported features.
    """
    path = join(modules.transformer, "config.json")
    config = files.read_json(path)
    if config is None:
        raise InputError(f"{files.name}: {path} is missing")
    if config.get("model_type") not in KINDS:
        kinds = " or ".join(map(repr, KINDS))
        raise InputError(f"{files.name}/{path}: model_type must be {kinds}, got {config.get('model_type')!r}")
    modern = config["model_type"] == MODERN
    required = (
        {"hidden_activation": "gelu"} if modern else {"hidden_act": "gelu", "position_embedding_type": "absolute"}
    )
    for name, value in required.items():
        if config.get(name, value) != value:
            raise InputError(f"{files.name}/{path}: {name} must be {value!r}, got {config.get(name)!r}")

    def size(name: str, most: int = MOST_TOKENS) -> int:
        return check_size(f"{files.name}/{path}: {name}", config.get(name), most)

    offset = first_position(files, modules)
    positions, width = size("max_position_embeddings") - offset, size("hidden_size")
    prompts, prompt = _read_prompts(files)
    layers = size("num_hidden_layers", MOST_LAYERS)
    epsilon, usual = ("norm_eps", 1e-5) if modern else ("layer_norm_eps", 1e-12)
    architecture = Architecture(
        width=width,
        layers=layers,
        heads=size("num_attention_heads"),
        inner=size("intermediate_size"),
        tokens=size("vocab_size"),
        positions=positions,
        length=_read_length(files, modules.transformer, positions),
        epsilon=config.get(epsilon, usual),
        pooling=_read_pooling(files, modules.pooling),
        dense=tuple(_read_dense(files, folder) for folder in modules.dense),
        normalized=modules.normalized,
        prompts=prompts,
        prompt=prompt,
        rotary=read_rotary(f"{files.name}/{path}", config, layers) if modern else (),
    )
    architecture.check()
    return architecture


def first_position(files: ModelFiles, modules: Modules) -> int:
    """Return the row of the position embedding of the first token; in RoBERTa, padding and the rows before it have others."""
    config = files.read_json(join(modules.transformer, "config.json")) or {}
    if config.get("model_type") not in OFFSET:
        return 0
    padding = config.get("pad_token_id", 1)
    if type(padding) is not int or not 0 <= padding < MOST_TOKENS:
        raise InputError(f"{files.name}: pad_token_id must be the id of a token, got {padding!r:.100}")
    return padding + 1


def dense_input(files: ModelFiles, folder: str) -> int:
    """Return the input dimensions of a dense module."""
    config = files.read_json(join(folder, "config.json")) or {}
    return check_size(f"{files.name}/{folder}: in_features", config.get("in_features"), MOST_TOKENS)


def _read_dense(files: ModelFiles, folder: str) -> tuple[int, str]:
    path = join(folder, "config.json")
    config = files.read_json(path) or {}
    activation = str(config.get("activation_function", "torch.nn.modules.activation.Tanh")).rpartition(".")[2].lower()
    if activation not in ACTIVATIONS:
        raise InputError(f"{files.name}/{path}: activation_function must be Identity or Tanh, got {activation!r}")
    return check_size(f"{files.name}/{path}: out_features", config.get("out_features"), MOST_TOKENS), activation


def has_bias(files: ModelFiles, folder: str) -> bool:
    """Whether a dense module has a bias."""
    return (files.read_json(join(folder, "config.json")) or {}).get("bias", True) is not False


def _read_length(files: ModelFiles, folder: str, positions: int) -> int:
    """Return the maximum number of tokens of a text."""
    most = min(positions, LONGEST_INPUT)
    for name in CONFIGURATIONS:
        length = (files.read_json(join(folder, name)) or {}).get("max_seq_length")
        if length is not None:
            return min(check_size(f"{files.name}/{name}: max_seq_length", length, 2**31), most)
    length = (files.read_json(join(folder, "tokenizer_config.json")) or {}).get("model_max_length")
    return int(length) if isinstance(length, (int, float)) and 0 < length < most else most


def _read_pooling(files: ModelFiles, folder: str | None) -> str:
    if folder is None:
        return "mean"
    path = join(folder, "config.json")
    config = files.read_json(path)
    if config is None:
        raise InputError(f"{files.name}: {path} is missing")
    if config.get("include_prompt", True) is not True:
        raise InputError(f"{files.name}/{path}: pooling without the prompt (include_prompt) is not supported")
    if "pooling_mode" in config:
        modes = {str(config["pooling_mode"])}
    else:
        prefix = "pooling_mode_"
        modes = {name.removeprefix(prefix) for name, chosen in config.items() if name.startswith(prefix) and chosen}
    known = {"mean_tokens": "mean", "cls_token": "cls", "mean": "mean", "cls": "cls"}
    if len(modes) != 1 or not modes <= known.keys():
        got = ", ".join(sorted(modes)) or "none"
        raise InputError(f"{files.name}/{path}: pooling must be mean_tokens or cls_token, got {got}")
    return known[modes.pop()]


def _read_prompts(files: ModelFiles) -> tuple[dict[str, str], str | None]:
    """Return the prompts by name, and the name of the prompt for queries."""
    path = "config_sentence_transformers.json"
    config = files.read_json(path) or {}
    prompts = config.get("prompts") or {}
    if not isinstance(prompts, dict) or not all(isinstance(text, str) for text in prompts.values()):
        raise InputError(f"{files.name}/{path}: prompts must be strings by name")
    default = config.get("default_prompt_name")
    if default is not None and default not in prompts:
        raise InputError(f"{files.name}/{path}: default_prompt_name must be the name of a prompt, got {default!r}")
    return prompts, "query" if prompts.get("query") else default


def read_tokenizer(files: ModelFiles, modules: Modules, tokens: int) -> Tokenizer:
    """Read the tokenizer of a model.

    Parameters
    ----------
    tokens : int
        Number of token embeddings.

    Raises
    ------
    InputError
        It is not a WordPiece, Unigram or byte-level BPE tokenizer, or its vocabulary does not fit.
    """
    config = files.read_json(join(modules.transformer, "tokenizer_config.json")) or {}
    described = files.read_json(join(modules.transformer, "tokenizer.json"))
    if described is not None:
        readers: dict[str, Reader] = {"Unigram": read_unigram, "BPE": read_byte_pairs}
        return readers.get(_model_type(described), _read_described)(f"{files.name}/tokenizer.json", described, tokens)
    data = files.read(join(modules.transformer, "vocab.txt"))
    if data is None:
        raise InputError(f"{files.name} must contain tokenizer.json or vocab.txt")
    try:
        lines = data.decode().split("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{files.name}/vocab.txt is not valid UTF-8: {error}") from None
    vocabulary = {line.rstrip("\r"): row for row, line in enumerate(lines[:-1] if lines[-1] == "" else lines)}
    return make_tokenizer(f"{files.name}/vocab.txt", vocabulary, tokens, _normalization(config, "do_lower_case"))


def _model_type(described: dict[str, Any]) -> str:
    model = described.get("model")
    return str(model.get("type")) if isinstance(model, dict) else ""


def _read_described(path: str, described: Mapping[str, Any], tokens: int) -> WordPiece:
    """Read a tokenizer saved by the library `tokenizers`."""

    def part(name: str, kind: str) -> dict[str, Any]:
        value = described.get(name)
        if not isinstance(value, dict) or value.get("type", kind) != kind:
            got = value.get("type") if isinstance(value, dict) else value
            raise InputError(f"{path}: the {name} must be a {kind}, got {str(got)[:100]!r}")
        return value

    model, normalizer = part("model", "WordPiece"), part("normalizer", "BertNormalizer")
    part("pre_tokenizer", "BertPreTokenizer")
    options = {
        "prefix": model.get("continuing_subword_prefix", "##"),
        "longest_word": model.get("max_input_chars_per_word", 100),
    }
    if not isinstance(options["prefix"], str):
        raise InputError(f"{path}: continuing_subword_prefix must be a string")
    check_size(f"{path}: max_input_chars_per_word", options["longest_word"], 1000)
    return make_tokenizer(path, model.get("vocab"), tokens, _normalization(normalizer, "lowercase"), **options)


def _normalization(config: Mapping[str, Any], lowercase: str) -> Normalization:
    lower = config.get(lowercase, True) is not False
    strip = config.get("strip_accents")
    ideographs = config.get("handle_chinese_chars", config.get("tokenize_chinese_chars", True))
    return Normalization(
        clean=config.get("clean_text", True) is not False,
        ideographs=ideographs is not False,
        strip_accents=lower if strip is None else bool(strip),
        lowercase=lower,
    )
