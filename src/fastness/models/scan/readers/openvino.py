"""OpenVINO: the graph of an .xml file; its weights stand in the .bin file beside it, which the layout knows.

Tells every layer with its operator set, and every library, kernel or file that an attribute names. Misses: what the
numbers compute. Cost: one step for each tag.

Source: OpenVINO 2026.4, "Intermediate Representation and Operation Sets" (IR 10 and 11), `core/src/xml_util`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from fastness.core.findings import Finding, Rule, Severity
from fastness.core.sources import RandomAccess
from fastness.models.scan import xml
from fastness.models.scan.budget import Budget
from fastness.models.scan.credentials import SHORTEST, credential_in
from fastness.models.scan.facts import HEAD, Fact, FactKind, Look, Told, found, span
from fastness.models.scan.rules import MAPS
from fastness.models.scan.xml import Event, Kind

UNKNOWN = Rule(
    "openvino-element", "An element that OpenVINO's format does not know", Severity.MEDIUM,
    "What no reader of the format looks at can carry anything, or belong to an extension that must be loaded.",
    "Convert the model again with a current version.", MAPS,
)  # fmt: skip
CUSTOM = Rule(
    "openvino-custom-layer", "A layer that is defined by code of its own", Severity.HIGH,
    "The kernel is compiled and run, or the library loaded, when the model is.",
    "Convert the model with operators of the published sets only.", {**MAPS, "cwe": "CWE-94"},
)  # fmt: skip

RULES: tuple[Rule, ...] = (UNKNOWN, CUSTOM)

_ELEMENTS = frozenset({
    "net", "layers", "layer", "data", "input", "output", "port", "dim", "edges", "edge", "rt_info", "meta_data", "body",
    "port_map", "back_edges", "attribute", "then_body", "else_body", "then_port_map", "else_port_map", "pre-process",
    "external_port_map", "internal_port_map", "mean", "scale", "channel", "statistics", "blobs", "weights", "biases",
    "custom",
})  # fmt: skip
_FREE = frozenset(
    {"rt_info", "meta_data", "cli_parameters", "conversion_parameters", "statistics", "quantization_parameters"}
)
_LOADED = re.compile(
    r"(?:library|lib|lib_path|plugin|kernel|entry_point|filename|file|path|extension)\Z", re.IGNORECASE
)
_KERNELS = frozenset(
    {"CustomLayer", "Kernel", "Source", "Parameters", "CompilerOptions", "WorkSizes", "Define", "Tensor"}
)
_ROOTS = frozenset({"net", "CustomLayer"})
_OPSET = re.compile(r"opset[0-9]{1,2}\Z")


@dataclass(frozen=True)
class OpenvinoReader:
    """Reads the .xml files of OpenVINO models."""

    name: ClassVar[str] = "openvino"
    suffixes: ClassVar[tuple[str, ...]] = ()

    def claims(self, look: Look) -> bool:
        """By the root element and its layers, or by that of a custom kernel."""
        return is_openvino(look.head)

    def read(self, source: RandomAccess, budget: Budget) -> Iterator[Told]:
        """Layers, libraries, faults, and the span.

        Raises:
            TooLarge: the budget is spent.
        """
        walk = _Walk(source.name, budget)
        try:
            for event in xml.events(source, budget):
                if event.kind is Kind.START and not event.depth and event.name not in _ROOTS:
                    return
                walk.take(event)
        except xml.Refused as refused:
            yield from walk.all()
            yield found(refused.rule, source.name, refused.at, str(refused))
            if not refused.rule.incomplete:
                yield span(source.name, 0, source.size)
            return
        yield from walk.all()
        yield span(source.name, 0, source.size)


def is_openvino(head: bytes) -> bool:
    """Whether a file that begins so is the graph of a model, or a kernel."""
    graph = xml.begins_with(head, "net") and (xml.begins_with(head, "layers") or len(head) >= HEAD)
    return graph or xml.begins_with(head, "CustomLayer") or xml.may_begin(head)


def weights(source: RandomAccess, budget: Budget) -> Iterator[tuple[int, int, int]]:
    """Where each constant's bytes stand in the .bin file: offset of the tag, offset and size; -1 for what is no number.

    Raises:
        TooLarge: the budget is spent.
    """
    try:
        for event in xml.events(source, budget):
            if event.kind is Kind.START and {"offset", "size"} <= event.attributes.keys():
                numbers = [_number(event.attributes[key]) for key in ("offset", "size")]
                yield event.offset, numbers[0], numbers[1]
    except xml.Refused:
        return  # the reader tells it


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else -1


@dataclass(slots=True)
class _Walk:
    """The state of one reading."""

    name: str
    budget: Budget
    told: list[Fact | Finding] = field(default_factory=list)
    layers: dict[tuple[str, str], int] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)
    free: int = 0
    """How many elements of any name are open."""

    def take(self, event: Event) -> None:
        """Take in one event."""
        if event.kind is Kind.START:
            self._start(event)
        elif event.kind is Kind.END:
            self.free -= bool(self.free)
        elif len(event.text) >= SHORTEST:
            self._credential(event.text, event.offset)

    def all(self) -> Iterator[Fact | Finding]:
        """What was found."""
        yield from self.told
        for (domain, kind), offset in self.layers.items():
            yield Fact(FactKind.OPERATOR, self.name, offset, kind, {"domain": domain, "local": 0})

    def _start(self, event: Event) -> None:
        if self.free or event.name in _FREE:
            self.free += 1
        elif event.name in _KERNELS:
            self._tell(found(CUSTOM, self.name, event.offset, f"an element {event.name}"))
        elif (event.name not in _ELEMENTS or event.namespace) and event.name not in self.unknown:
            self.unknown.add(event.name)
            self._tell(found(UNKNOWN, self.name, event.offset, f"an element {event.name[:80]!a}"))
        if event.name == "layer":
            self._layer(event)
        self._attributes(event)

    def _attributes(self, event: Event) -> None:
        for key, value in event.attributes.items():
            if not self.free and event.name != "data" and _LOADED.match(key):
                self._tell(Fact(FactKind.REFERENCE, self.name, event.offset, value))
            if len(value) >= SHORTEST:
                self._credential(value, event.offset)

    def _layer(self, event: Event) -> None:
        version = event.attributes.get("version", "")
        domain = "openvino" if _OPSET.match(version) or version == "type_relaxed_opset" else f"openvino.{version}"
        key = domain, event.attributes.get("type", "")
        if key not in self.layers:
            self.budget.spend("facts")
            self.layers[key] = event.offset

    def _credential(self, text: str, offset: int) -> None:
        if kind := credential_in(text):
            self._tell(Fact(FactKind.CREDENTIAL, self.name, offset, kind))

    def _tell(self, told: Fact | Finding) -> None:
        self.budget.spend("facts")
        self.told.append(told)


READER = OpenvinoReader
