"""Settings that are neither JSON nor YAML, as the tree that `configs` walks: INI, TOML, Jsonnet, protobuf's text.

INI is read as the union of its dialects: sections, `key = value` or `key: value`, lines that go on by indentation, and
values that are JSON, as spaCy's are. Jsonnet and protobuf's text are read as loose pairs of keys and texts, wherever they
stand: their structure is lost, and so is what they compute. Cost: linear.
"""

from __future__ import annotations

import re
import tomllib

from fastness.models.scan.configs import Pairs, Tree
from fastness.models.scan.jsons import NotJson, parse

LONGEST = 2 << 20
_SECTION = re.compile(r"[ \t]*\[\[?([^\]\n]{1,300})\]")
_SETTING = re.compile(r"[ \t]*([^=:\n#;\[][^=:\n]{0,300}?)[ \t]*[=:][ \t]*([^\n]*)")
_PAIR = re.compile(
    r"[\"']?(?P<key>@?[A-Za-z_][\w.@-]{0,100})[\"']?\s{0,20}(?:\+?:{1,3}|=)\s{0,20}"
    r"(?:\"(?P<double>(?:[^\"\\\n]|\\.){0,2000}+)\"|'(?P<single>(?:[^'\\\n]|\\.){0,2000}+)'|(?P<word>[A-Za-z]\w{0,100}))"
)
_LOOSE = (".jsonnet", ".libsonnet", ".pbtxt", ".json5", ".jsonc", ".hocon", ".hcl")
SUFFIXES = (".cfg", ".ini", ".toml", ".conf", ".properties", *_LOOSE)


def tree_of(name: str, text: str) -> Tree:
    """The settings of a file, by its name."""
    if name.lower().endswith(_LOOSE):
        return _loose(text)
    if name.lower().endswith(".toml"):
        try:
            return _tree(tomllib.loads(text))
        except (tomllib.TOMLDecodeError, RecursionError):
            return _sections(text)
    return _sections(text)


def _tree(value: object) -> Tree:
    if isinstance(value, dict):
        return Pairs([(str(key), _tree(one)) for key, one in value.items()])
    if isinstance(value, list):
        return [_tree(one) for one in value]
    return value if isinstance(value, str | int | float | bool) else str(value)


def _sections(text: str) -> Tree:
    whole: list[tuple[str, Tree]] = []
    section: list[tuple[str, Tree]] = []
    key, kept = "", ""
    for line in [*text.splitlines(), "[]"]:
        if key and line[:1] in " \t" and line.strip():
            kept += "\n" + line.strip()
            continue
        if key:
            section.append((key, _value(kept)))
        key, kept = "", ""
        if match := _SECTION.match(line):
            section = []
            whole.append((match[1], Pairs(section)))
        elif match := _SETTING.match(line):
            key, kept = match[1].strip().strip("\"'"), match[2].strip()
            if not whole:
                whole.append(("", Pairs(section)))
    return Pairs(whole)


def _value(text: str) -> Tree:
    if text[:1] in '[{"':
        try:
            return parse(text).tree
        except NotJson:
            return text.strip("\"'")
    return text.strip("\"'")


def _loose(text: str) -> Tree:
    return Pairs(
        [(match["key"], match["double"] or match["single"] or match["word"] or "") for match in _PAIR.finditer(text)]
    )
