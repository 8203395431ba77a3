"""Text encoders to compare: for each, a function from one text to its vector, and its size.

Peers run in the environment of ``bench.encoder``, with one thread each; peers that are not installed are listed as absent, with the reason.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

import vsearch
from bench.data import Floats

LENGTH = 128
"""Maximum number of tokens of a text, for all encoders."""


@dataclass(frozen=True)
class Engine:
    """An encoder of one text at a time.

    Attributes
    ----------
    encode : callable
        Takes a text, returns float32 (d,).
    model_bytes, library_bytes : int
        Size of the model's files, and of the installed packages that it needs in addition to NumPy.
    """

    name: str
    encode: Callable[[str], Floats]
    model_bytes: int
    library_bytes: int = 0


def installed_bytes(*packages: str) -> int:
    """Bytes of the files of distributions."""
    total = 0
    for package in packages:
        for file in metadata.files(package) or ():
            path = Path(str(file.locate()))
            total += path.stat().st_size if path.is_file() else 0
    return total


def ours(folders: dict[str, Path]) -> list[Engine]:
    """Compressed encoders by name."""
    engines = []
    for name, folder in folders.items():
        encoder = vsearch.encoders.load(folder)
        size = sum(path.stat().st_size for path in folder.iterdir())
        engines.append(Engine(name, lambda text, encoder=encoder: encoder.encode(text)[0], size))  # type: ignore[misc]
    return engines


def peers(model: Path, work: Path) -> tuple[list[Engine], dict[str, str]]:
    """The peers that are installed, and why others are absent."""
    engines: list[Engine] = []
    absent: dict[str, str] = {}
    for name, make in (
        ("sentence-transformers, torch", _torch),
        ("onnxruntime", _onnx),
        ("CTranslate2", _ctranslate2),
    ):
        try:
            engines += make(model, work)
        except ImportError as error:
            absent[name] = str(error)
    return engines, absent


def _torch(model: Path, work: Path) -> Iterable[Engine]:  # noqa: ARG001 (all peers have the same signature)
    torch: Any = importlib.import_module("torch")
    library: Any = importlib.import_module("sentence_transformers")
    torch.set_num_threads(1)
    encoder = library.SentenceTransformer(str(model), device="cpu", local_files_only=True)
    encoder.max_seq_length = LENGTH

    def encode(text: str) -> Floats:
        return np.asarray(encoder.encode(text, show_progress_bar=False), np.float32)

    libraries = installed_bytes("torch", "transformers", "sentence-transformers", "tokenizers")
    return [Engine("sentence-transformers, torch", encode, (model / "model.safetensors").stat().st_size, libraries)]


def _tokenizer(model: Path) -> Any:
    tokenizer: Any = importlib.import_module("tokenizers").Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.enable_truncation(LENGTH)
    tokenizer.no_padding()
    return tokenizer


def _mean(rows: Floats) -> Floats:
    mean = rows.mean(axis=0)
    vector: Floats = mean / np.linalg.norm(mean)
    return vector


def _onnx(model: Path, work: Path) -> Iterable[Engine]:
    runtime: Any = importlib.import_module("onnxruntime")
    plain, fused, small = (work / f"{name}.onnx" for name in ("plain", "fused", "int8"))
    if not small.exists():
        _export(model, plain)
        optimizer: Any = importlib.import_module("onnxruntime.transformers.optimizer")
        optimizer.optimize_model(str(plain), "bert", num_heads=12, hidden_size=384).save_model_to_file(str(fused))
        quantization: Any = importlib.import_module("onnxruntime.quantization")
        options = {"DefaultTensorType": importlib.import_module("onnx").TensorProto.FLOAT}  # fused nodes are untyped
        quantization.quantize_dynamic(str(fused), str(small), per_channel=True, extra_options=options)
    tokenizer = _tokenizer(model)

    def open_session(path: Path) -> Callable[[str], Floats]:
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        names = {one.name for one in session.get_inputs()}

        def encode(text: str) -> Floats:
            ids = np.array([tokenizer.encode(text).ids], np.int64)
            inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
            return _mean(session.run(None, {name: inputs[name] for name in names})[0][0])

        return encode

    libraries = installed_bytes("onnxruntime", "tokenizers")
    for name, path in (("onnxruntime float32, fused", fused), ("onnxruntime int8, dynamic, per channel, fused", small)):
        yield Engine(name, open_session(path), path.stat().st_size, libraries)


def _export(model: Path, path: Path) -> None:
    torch: Any = importlib.import_module("torch")
    bert = importlib.import_module("transformers").BertModel.from_pretrained(str(model), attn_implementation="eager")
    bert.eval()

    class Plain(torch.nn.Module):  # type: ignore[misc]
        """Takes positional inputs, as the exporter passes them."""

        def __init__(self) -> None:
            super().__init__()
            self.bert = bert

        def forward(self, ids: Any, mask: Any, kinds: Any) -> Any:
            return self.bert(input_ids=ids, attention_mask=mask, token_type_ids=kinds).last_hidden_state

    ids = torch.ones((1, 8), dtype=torch.int64)
    names = ["input_ids", "attention_mask", "token_type_ids"]
    axes = {name: {0: "batch", 1: "tokens"} for name in [*names, "last_hidden_state"]}
    torch.onnx.export(
        Plain(),
        (ids, torch.ones_like(ids), torch.zeros_like(ids)),
        str(path),
        input_names=names,
        output_names=["last_hidden_state"],
        dynamic_axes=axes,
        opset_version=17,
        dynamo=False,
    )


def _ctranslate2(model: Path, work: Path) -> Iterable[Engine]:
    library: Any = importlib.import_module("ctranslate2")
    tokenizer = _tokenizer(model)
    libraries = installed_bytes("ctranslate2", "tokenizers")
    for kind in ("float32", "int8"):
        folder = work / f"ctranslate2-{kind}"
        if not folder.exists():
            library.converters.TransformersConverter(str(model)).convert(str(folder), quantization=kind)
        encoder = library.Encoder(str(folder), device="cpu", compute_type=kind, inter_threads=1, intra_threads=1)

        def encode(text: str, encoder: Any = encoder) -> Floats:
            ids = tokenizer.encode(text).ids
            return _mean(np.array(encoder.forward_batch([ids]).last_hidden_state)[0])

        yield Engine(f"CTranslate2 {kind}", encode, (folder / "model.bin").stat().st_size, libraries)
