"""TorchScript: the functions of a scripted module, as torch writes them down.

It is a language of its own, without imports or files, so that honest models hold nothing else; but the operators that it
calls are those of the torch that loads it, and a few of them read or write files, or come from libraries of others.

Misses: what an operator of a reviewed namespace does with its arguments. Cost: linear in the text.

Source: torch 2.13, `torch/csrc/jit/serialization/python_print.cpp`: operators of `aten` are written `torch.NAME`, others
`ops.NAMESPACE.NAME`, classes in C++ `__torch__.torch.classes.NAMESPACE.NAME`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fastness.core.findings import Rule, Severity
from fastness.core.sources import RandomAccess
from fastness.models.scan.budget import Budget
from fastness.models.scan.facts import Look, Told, found, span
from fastness.models.scan.rules import MAPS, SAFE_FORMAT, undecided

FILES = Rule(
    "torchscript-file-access", "TorchScript that reads or writes files", Severity.HIGH,
    "Using the model reads or overwrites files of the machine, with names from the model.",
    f"Do not load it. {SAFE_FORMAT}", {**MAPS, "cwe": "CWE-73"},
)  # fmt: skip
FOREIGN = Rule(
    "torchscript-foreign-operator", "TorchScript that calls a library of others", Severity.MEDIUM,
    "What the operator does is in no file of the model, but in a library that must be loaded with it.",
    "Find out which library it is, and whether it is to be trusted.", MAPS,
)  # fmt: skip
NOT_TEXT = undecided(
    "torchscript-not-text", "TorchScript that is no text",
    "What cannot be read cannot be vouched for.", "Save the module again with torch.jit.save.",
)  # fmt: skip

RULES: tuple[Rule, ...] = (FILES, FOREIGN, NOT_TEXT)

_TEXTS = re.compile(r"\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'|#[^\n]*", re.DOTALL)
_NAME = r"[A-Za-z_]\w*"
_CALL = re.compile(rf"(?<![\w.])(torch|ops)((?:\s*\.\s*{_NAME})+)")
_CLASS = re.compile(rf"__torch__\s*\.\s*torch\s*\.\s*classes\s*\.\s*({_NAME})\s*\.\s*({_NAME})")
_FILES = frozenset({"save", "from_file", "load", "_save", "_load", "_load_for_lite_interpreter"})
_NAMESPACES = frozenset({
    "aten", "prim", "prims", "quantized", "_quantized", "quantized_decomposed", "sparse", "mkldnn", "onednn", "rnn", "xnnpack",
    "mkldnn_prepacked", "prepacked", "vulkan_prepack", "metal_prepack", "torchvision", "torchaudio", "torchtext", "inductor",
    "static_runtime", "tensorexpr", "_caffe2", "cuda", "mkl", "mps", "profiler", "nnapi",
})  # fmt: skip


@dataclass(frozen=True)
class TorchScriptReader:
    """Reads the text of TorchScript."""

    name: ClassVar[str] = "torchscript"
    suffixes: ClassVar[tuple[str, ...]] = ()

    def claims(self, look: Look) -> bool:
        """Never by itself: only a layout says that a text is TorchScript."""
        del look
        return False

    def read(self, source: RandomAccess, budget: Budget) -> Iterator[Told]:
        """The operators that ask for files, or for libraries of others.

        Raises:
            TooLarge: the text is longer than the budget allows.
        """
        budget.require("header_bytes", source.size)
        try:
            text = source.read_at(0, source.size).decode()
        except UnicodeDecodeError:
            yield found(NOT_TEXT, source.name, 0, "it is not UTF-8")
            return
        if "\0" in text:
            yield found(NOT_TEXT, source.name, text.index("\0"), "a zero byte stands in it")
        yield span(source.name, 0, source.size)
        bare = _TEXTS.sub(lambda match: " " * len(match[0]), text).replace("\\\n", "  ")
        for match in _CALL.finditer(bare):
            called = _called(match[1], re.findall(_NAME, match[2]))
            rule = rule_of_operator(called)
            if rule is not None:
                yield found(rule, source.name, match.start(), f"it calls {'.'.join(called)[:80]}")
        for match in _CLASS.finditer(bare):
            if match[1] not in _NAMESPACES:
                yield found(FOREIGN, source.name, match.start(), f"it uses the class {match[1]}.{match[2]}"[:120])


def _called(root: str, parts: list[str]) -> list[str]:
    """The namespace and the name of an operator; nothing for the name of a class or a type, such as torch.nn.Module."""
    if root == "ops" or parts[0] == "ops":
        return parts[parts[0] == "ops" :]
    if len(parts) == 1:
        return ["aten", *parts]
    return parts if parts[0] == "aten" else []


def rule_of_operator(called: list[str]) -> Rule | None:
    """What is wrong with a call of an operator, by its namespace and name; None where nothing is known."""
    if len(called) > 1 and called[0] == "aten" and called[1] in _FILES:
        return FILES
    return FOREIGN if called and called[0] not in _NAMESPACES else None


READER = TorchScriptReader
