"""Keras' configurations: every object that one names, wherever it stands in it, and the code that Lambda layers carry.

Tells each class and function under the name that Keras looks up (`module.class_name`, or the bare name where old formats
leave the module out), the code of lambdas, files and addresses that layers read, and credentials. Texts that hold
configurations themselves are walked too. Cost: one step a value.

Source: keras 3.15, `src/saving/serialization_lib.py`; tf_keras 2.21, `src/saving/legacy/serialization.py` and
`json_utils.py`.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from contextlib import suppress
from dataclasses import dataclass, field

from fastness.core.findings import Finding, Rule, Severity
from fastness.models.scan.budget import Budget
from fastness.models.scan.credentials import SHORTEST, credential_in
from fastness.models.scan.facts import Fact, FactKind, found
from fastness.models.scan.marshalled import references
from fastness.models.scan.rules import MAPS, undecided

MALFORMED = undecided(
    "keras-malformed", "A Keras configuration that is not understood",
    "What cannot be parsed cannot be vouched for.", "Fetch the file again, or save the model again with Keras.",
)  # fmt: skip
DUPLICATE = Rule(
    "keras-duplicate-key", "A key that stands twice in a Keras configuration", Severity.HIGH,
    "Readers differ in which of the two they take: one sees another layer than the next.",
    "No honest library writes this. Save the model again with Keras.", {**MAPS, "cwe": "CWE-694"},
)  # fmt: skip
ODD_OBJECT = Rule(
    "keras-object", "An object of a Keras configuration in an unusual form", Severity.MEDIUM,
    "What a loader makes of it depends on its version.", "Save the model again with a current version of Keras.", MAPS,
)  # fmt: skip

RULES: tuple[Rule, ...] = (MALFORMED, DUPLICATE, ODD_OBJECT)

VOCABULARY = "keras"
MAX_NESTING = 4
_VALUES = frozenset({
    "__tensor__", "__numpy__", "__bytes__", "__ellipsis__", "__slice__", "__keras_tensor__", "__tuple__", "TensorShape",
})  # fmt: skip
_FILES = frozenset(
    {"vocabulary", "vocabulary_file", "vocab_file", "input_vocabulary", "idf_weights", "filepath", "filename"}
)
_FIRST_BYTES = re.compile(rb"\s*[\[{]")
_NAMES_CLASS = re.compile(rb"class_name|\\u00(?:[2-6][0-9a-fA-F]|7[0-9a-eA-E])")  # no writer escapes letters
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_OBJECTS = re.compile(r"O|object|V.*", re.DOTALL)
_SHOWN_NAMES = 8
_BEGIN = frozenset("{[ \t\r\n")
_NAMED_BY = {"function": "config", "__typespec__": "spec_name"}
_BY_FUNCTION = frozenset({"TFOpLambda", "SlicingOpLambda"})

Json = str | int | float | bool | None | list["Json"] | dict[str, "Json"]


def may_be_config(text: bytes) -> bool:
    """Whether a text may be a configuration: JSON that names a class, with or without escapes."""
    return _FIRST_BYTES.match(text) is not None and _NAMES_CLASS.search(text) is not None


class NotKeras(ValueError):
    """It is no JSON, so that no version of Keras takes it; the message says why."""


def keras_facts(text: bytes, name: str, offset: int, budget: Budget) -> list[Fact | Finding]:
    """What a configuration names and holds; `offset` is where it stands in the file.

    Raises:
        NotKeras: it is none.
        TooLarge: it is longer, or holds more, than the budget allows.
    """
    budget.require("header_bytes", len(text))
    walk = _Walk(name, offset, budget)
    walk.values(walk.parsed(text.decode("utf-8", "surrogateescape")))
    return walk.told


@dataclass(slots=True)
class _Walk:
    """The state of one reading."""

    name: str
    offset: int
    budget: Budget
    told: list[Fact | Finding] = field(default_factory=list)
    seen: set[tuple[str, str]] = field(default_factory=set)

    def parsed(self, text: str) -> Json:
        """The value of JSON.

        Raises:
            NotKeras: it is none.
        """
        try:
            value: Json = json.loads(text, object_pairs_hook=self._unique)
        except (ValueError, RecursionError) as error:
            raise NotKeras(f"no JSON: {type(error).__name__}") from error
        return value

    def _unique(self, pairs: list[tuple[str, Json]]) -> dict[str, Json]:
        made = dict(pairs)
        if len(made) != len(pairs):
            self._once("twice", "", found(DUPLICATE, self.name, self.offset, "a key stands twice"))
            for _, value in pairs:
                self.values(value)
        return made

    def values(self, root: Json) -> None:
        """Walk everything within a value, texts that are configurations included."""
        waiting: list[tuple[Json, int]] = [(root, 0)]
        while waiting:
            value, depth = waiting.pop()
            self.budget.spend("fields")
            if isinstance(value, dict):
                self._object(value)
                waiting.extend((inner, depth) for inner in value.values())
            elif isinstance(value, list):
                waiting.extend((inner, depth) for inner in value)
            elif isinstance(value, str):
                self._text(value, depth, waiting)

    def _text(self, text: str, depth: int, waiting: list[tuple[Json, int]]) -> None:
        if len(text) >= SHORTEST and (kind := credential_in(text)):
            self._fact(FactKind.CREDENTIAL, kind)
        if text[:1] in _BEGIN and may_be_config(text.encode("utf-8", "surrogatepass")):
            if depth >= MAX_NESTING:
                self._once(
                    "deep", "", found(MALFORMED, self.name, self.offset, "configurations nested too deep in texts")
                )
                return
            with suppress(NotKeras):
                waiting.append((self.parsed(text), depth + 1))

    def _object(self, value: dict[str, Json]) -> None:
        """An object, which only a class with a configuration is: all versions of Keras take the rest for plain values."""
        kind, config = value.get("class_name"), value.get("config")
        if "class_name" not in value or "config" not in value:
            return
        if not isinstance(kind, str):
            self._odd("a class name that is no text")
        elif kind == "__lambda__":
            self._code(_first(config))
        elif kind in _VALUES:
            self._plain(config)
        elif kind in _NAMED_BY:
            self._named(value, value.get(_NAMED_BY[kind]))
        else:
            self._named(value, kind)
            self._configured(kind, config)

    def _configured(self, kind: str, config: Json) -> None:
        """The files that layers read, and what those that run a function name it by or carry it as."""
        if not isinstance(config, dict):
            return
        for key in sorted(_FILES & config.keys()):
            self._file(config[key])
        if kind.rpartition(">")[2] == "Lambda":
            self._old_lambdas(config)
        elif kind in _BY_FUNCTION:
            self._named({"module": "tensorflow"}, config.get("function"))

    def _named(self, value: dict[str, Json], name: Json) -> None:
        """An object that is looked up: by its module, and before that by the name that somebody registered."""
        module, registered = value.get("module"), value.get("registered_name")
        if not isinstance(name, str) or not isinstance(module, str | None) or not isinstance(registered, str | None):
            self._odd("an object whose names are no texts")
            return
        self._fact(FactKind.CLASS, f"{module}.{name}" if module else name, vocabulary=VOCABULARY)
        if registered and registered not in {name, value.get("class_name")}:
            self._fact(FactKind.CLASS, registered, vocabulary=VOCABULARY)

    def _plain(self, config: Json) -> None:
        dtype = config.get("dtype") if isinstance(config, dict) else None
        if isinstance(dtype, str) and _OBJECTS.fullmatch(dtype.lstrip("<>|=")):
            self._odd("an array of objects")

    def _old_lambdas(self, config: dict[str, Json]) -> None:
        """The functions of a Lambda layer of Keras 2: a list of code, defaults and closure, or a name."""
        for key in ("function", "output_shape", "mask"):
            function, kind = _items(config.get(key)), config.get(f"{key}_type")
            if isinstance(function, list) and function and (kind == "lambda" or isinstance(function[0], str)):
                self._code(function[0])
            elif isinstance(function, str):
                self._fact(FactKind.CLASS, function, vocabulary=VOCABULARY)

    def _code(self, code: Json) -> None:
        """Code, told by what it refers to; it needs `safe_mode=False`, which HDF5 has not always asked for."""
        data = _decoded(code)
        told = references(data)
        self.budget.spend("opcodes", 1 + len(told.words) ** 2)
        reaches = told.dangerous()
        names = [*reaches, *(one for one in (*told.names, *told.texts) if one not in reaches)][:_SHOWN_NAMES]
        shown = ", ".join(ascii(one[:40])[1:-1] for one in names) or "nothing"
        detail = {"language": "Python bytecode", "runs": "use", "reaches": " ".join(reaches), "when": "import"}
        what = f"a lambda that refers to {shown}" if data else "a lambda whose code cannot be read"
        self._once("code", what, Fact(FactKind.CODE, self.name, self.offset, what, detail))

    def _file(self, location: Json) -> None:
        if not isinstance(location, str):
            return
        if _SCHEME.match(location) and not location.lower().startswith("file:"):
            self._fact(FactKind.URL, location, runs="load")
        elif location:
            self._fact(FactKind.REFERENCE, location)

    def _fact(self, kind: FactKind, name: str, **detail: str) -> None:
        self._once(kind.value, name, Fact(kind, self.name, self.offset, name, detail))

    def _odd(self, what: str) -> None:
        self._once("odd", what, found(ODD_OBJECT, self.name, self.offset, what))

    def _once(self, kind: str, name: str, told: Fact | Finding) -> None:
        if (kind, name) not in self.seen:
            self.budget.spend("facts")
            self.seen.add((kind, name))
            self.told.append(told)


def _first(config: Json) -> Json:
    """The code of a lambda, which stands under one of two keys, alone or before its defaults."""
    code = config.get("code", config.get("value")) if isinstance(config, dict) else config
    return code[0] if isinstance(code, list) and code else code


def _items(value: Json) -> Json:
    """A tuple in the form that JSON gives it in the metadata of a SavedModel, as the list that it is."""
    return value.get("items") if isinstance(value, dict) and value.get("class_name") == "__tuple__" else value


def _decoded(code: Json) -> bytes:
    """Base64, as all but the oldest versions write it, or characters that stand for bytes."""
    if not isinstance(code, str):
        return b""
    try:
        return base64.b64decode(code, validate=False)
    except (binascii.Error, ValueError):
        return code.encode("raw_unicode_escape", "replace")
