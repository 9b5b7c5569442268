"""CoreML: every message of a .mlmodel, whatever kind of model it is, pipelines and programs included.

Tells custom models and layers by the class that an application must bring, operations of programs, files that are named,
and credentials. Misses: serialised models of Apple's own kind, which go to review. Cost: one step a field.

Source: coremltools 9.0, `mlmodel/format/Model.proto` and what it includes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from fastness.core.findings import Rule, Severity
from fastness.core.sources import BytesSource, RandomAccess
from fastness.models.scan.budget import Budget, ScanSettings
from fastness.models.scan.credentials import SHORTEST
from fastness.models.scan.cursor import Cursor
from fastness.models.scan.decoded import Row, Walk, schema_of
from fastness.models.scan.facts import Fact, FactKind, Look, Told, found, span
from fastness.models.scan.free_texts import tell_free_text
from fastness.models.scan.onnx_parts import code_in
from fastness.models.scan.payloads import search_payloads
from fastness.models.scan.protobuf import LENGTH, VARINT, Field, NotProtobuf, fields
from fastness.models.scan.rules import MAPS, undecided

MALFORMED = undecided(
    "coreml-malformed", "A CoreML file that is not understood",
    "What cannot be parsed cannot be vouched for.", "Fetch the file again, or convert the model again.",
)  # fmt: skip
UNKNOWN_FIELD = Rule(
    "coreml-unknown-field", "A field that the format does not know", Severity.MEDIUM,
    "Bytes that no reader looks at can carry anything, or belong to a newer version of the format.",
    "Convert the model again with a published version of coremltools.", MAPS,
)  # fmt: skip
ODD = Rule(
    "coreml-unknown-number", "A number that the format does not know", Severity.LOW,
    "The model may belong to a newer version of the format.",
    "Convert the model again with a published version of coremltools.", MAPS,
)  # fmt: skip
CUSTOM = Rule(
    "coreml-custom-class", "A model or a layer that a class of the application computes", Severity.MEDIUM,
    "The application must bring the class, which then runs with its rights on whatever the model gives it.",
    "Find out which class it is, or convert the model with standard layers only.", {**MAPS, "cwe": "CWE-829"},
)  # fmt: skip
OPAQUE = Rule(
    "coreml-opaque-model", "A part that only Apple's own frameworks can read", Severity.MEDIUM,
    "What it does cannot be seen here.", "Ask for the model in a kind that is published.", MAPS,
)  # fmt: skip

RULES: tuple[Rule, ...] = (MALFORMED, UNKNOWN_FIELD, ODD, CUSTOM, OPAQUE)

_ROOT = "Model"
_SHARED = frozenset({"description"})
_WEIGHTS = "@model_path/"
_OPERATIONS = frozenset({"MILSpec.Operation"})


@dataclass(frozen=True)
class CoremlReader:
    """Reads .mlmodel files."""

    name: ClassVar[str] = "coreml"
    suffixes: ClassVar[tuple[str, ...]] = (".mlmodel",)

    def claims(self, look: Look) -> bool:
        """By the name, or by a version, a description and one model: the format has no magic."""
        return look.named(".mlmodel") or _starts_a_model(look.head, look.size)

    def read(self, source: RandomAccess, budget: Budget) -> Iterator[Told]:
        """Classes, operations, references, credentials and faults.

        Raises:
            TooLarge: the budget is spent.
        """
        walk, model = Walk(source, schema_of("coreml"), budget), _Model(source.name, budget)
        kind = ""
        try:
            for row in walk.rows():
                model.take(row)
                if not row.inside:
                    kind = ", ".join(sorted(row.parts - _SHARED))
        except NotProtobuf as error:
            yield from model.told
            yield found(MALFORMED, source.name, error.at, str(error))
            return
        if not kind and not source.name.lower().endswith(".mlmodel"):
            return  # the messages of others begin alike
        yield from model.told
        for (message, number), at in walk.unknown.items():
            yield found(UNKNOWN_FIELD, source.name, at, f"field {number} of {message}")
        if walk.odd_numbers:
            yield found(ODD, source.name, 0, f"{walk.odd_numbers} numbers in fields that are not known")
        if not kind:
            yield found(MALFORMED, source.name, 0, "a model of no kind")
            return
        yield from search_payloads(source, 0, source.size, budget)
        yield span(source.name, 0, source.size)


@dataclass(slots=True)
class _Model:
    """What gathers over the messages."""

    name: str
    budget: Budget
    told: list[Told] = field(default_factory=list)
    operations: set[str] = field(default_factory=set)

    def take(self, row: Row) -> None:
        """Take in one message."""
        for texts in row.texts.values():
            for text in texts:
                self._text(text, row.at)
        if row.message in {"CustomModel", "CustomLayerParams"}:
            self._tell(found(CUSTOM, self.name, row.at, f"computed by the class {row.text('className')[:80]!a}"))
        elif row.message == "SerializedModel":
            self._tell(found(OPAQUE, self.name, row.at, f"a serialised {row.text('identifier')[:80]!a}"))
        elif row.message == "StringParameter" and row.inside.startswith("linkedModel"):
            self._tell(Fact(FactKind.REFERENCE, self.name, row.at, row.text("defaultValue")))
        elif row.message == "MILSpec.Value.BlobFileValue":
            # The package lays its own folder under this name.
            self._tell(Fact(FactKind.REFERENCE, self.name, row.at, row.text("fileName").removeprefix(_WEIGHTS)))
        elif row.message in _OPERATIONS and row.text("type") not in self.operations:
            self.operations.add(row.text("type"))
            self._tell(Fact(FactKind.OPERATOR, self.name, row.at, row.text("type"), {"domain": "coreml", "local": 0}))

    def _text(self, text: str, at: int) -> None:
        for item in tell_free_text(self.name, "", text, at) if len(text) >= SHORTEST else ():
            self._tell(item)
        if len(text) > 8 and code_in(text):
            detail: dict[str, str | int] = {"language": "text", "runs": "use"}
            self._tell(Fact(FactKind.CODE, self.name, at, "a text that holds a program", detail))

    def _tell(self, told: Told) -> None:
        self.budget.spend("facts")
        self.told.append(told)


def _starts_a_model(head: bytes, size: int) -> bool:
    """Whether `head` begins with a version, a description and a field that holds a model."""
    messages = schema_of("coreml").messages[_ROOT]
    seen: list[int] = []
    try:
        for one in fields(Cursor(BytesSource("", head)), 1 << 40, Budget(ScanSettings(fields=8))):
            if one.number not in messages or not _fits(one, size):
                return False
            seen.append(one.number)
            if one.end > len(head):
                break
    except NotProtobuf:
        pass
    return seen[:2] == [1, 2] and len(seen) > 2 and (seen[2] >= 200 or seen[2] == 10)


def _fits(one: Field, size: int) -> bool:
    """Whether a field has its wire type, and a model can follow a description; a SavedModel is a version and one graph."""
    ends = one.end == size and one.number < 3
    return one.end <= size and not ends and one.wire == (VARINT if one.number in {1, 10} else LENGTH)


READER = CoremlReader
