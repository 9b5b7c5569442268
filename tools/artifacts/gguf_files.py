"""GGUF: what the `gguf` package writes: architectures, element types, templates, alignment, both byte orders, splits."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.artifacts import Sample

LIBRARIES = ("gguf", "numpy")
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] | trim + '<|im_end|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant' }}{% endif %}"
)


def _written(fill: Any, architecture: str = "llama", **options: Any) -> bytes:
    import gguf

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.gguf")
        writer = gguf.GGUFWriter(path, architecture, **options)
        fill(writer)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path.read_bytes()


def _tokens(writer: Any) -> None:
    writer.add_name("tiny")
    writer.add_context_length(128)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(["<s>", "</s>", "a", "import os", "eval(", "é", "#!/bin/sh"])
    writer.add_token_types([3, 3, 1, 1, 1, 1, 1])
    writer.add_token_scores([0.0] * 7)
    writer.add_token_merges(["a b", "b c"])
    writer.add_bos_token_id(0)
    writer.add_chat_template(TEMPLATE)


def _templates(writer: Any) -> None:
    writer.add_chat_template([{"name": "default", "template": TEMPLATE}, {"name": "tool_use", "template": TEMPLATE}])


def _card(writer: Any) -> None:
    writer.add_author("somebody")
    writer.add_license("apache-2.0")
    writer.add_url("https://example.org/model")
    writer.add_tags(["text-generation", "tiny"])
    writer.add_languages(["en"])
    writer.add_bool("general.flag", val=True)
    writer.add_float64("general.f64", 0.5)
    writer.add_int8("general.i8", -1)
    writer.add_uint64("general.u64", 1 << 40)
    writer.add_array("general.nested", [[1, 2], [3, 4]])


def _tensors(writer: Any) -> None:
    import numpy as np

    for name, dtype in (
        ("a.weight", "f4"),
        ("b.weight", "f2"),
        ("c", "i1"),
        ("d", "i2"),
        ("e", "i4"),
        ("f", "i8"),
        ("g", "f8"),
    ):
        writer.add_tensor(name, np.ones((3, 5), dtype))


def _quantised(writer: Any) -> None:
    import gguf
    import numpy as np

    for kind, (block, _) in gguf.GGML_QUANT_SIZES.items():
        try:
            data = gguf.quants.quantize(np.zeros((2, block), np.float32), kind)
        except NotImplementedError:
            continue
        writer.add_tensor(f"{kind.name}.weight", data, raw_dtype=kind)


def _both(writer: Any) -> None:
    _tokens(writer)
    _tensors(writer)


def _aligned(writer: Any) -> None:
    writer.add_custom_alignment(64)
    _tensors(writer)


def _part(writer: Any) -> None:
    writer.add_uint16("split.no", 0)
    writer.add_uint16("split.count", 2)
    writer.add_int32("split.tensors.count", 14)
    _tensors(writer)


def samples() -> Iterator[Sample]:
    """One file of each structure."""
    import gguf

    yield "tokens-and-weights", {"model.gguf": _written(_both)}
    yield "named-templates", {"model.gguf": _written(_templates)}
    yield "card", {"model.gguf": _written(_card, "bert")}
    yield "quantised", {"model.gguf": _written(_quantised)}
    yield "alignment-64", {"model.gguf": _written(_aligned)}
    yield "first-of-two", {"model-00001-of-00002.gguf": _written(_part)}
    yield "big-endian", {"model.gguf": _written(_both, endianess=gguf.GGUFEndian.BIG)}
    yield "vocabulary-only", {"vocab.gguf": _written(_tokens)}
