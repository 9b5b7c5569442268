"""What configurations of models say that makes a loader run code, read another file or render a template.

One walk for JSON and YAML, over keys wherever they stand, because loaders merge and nest configurations freely. A value
under a repeated key is judged like the one that wins. The walk is iterative and follows no alias twice.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fastness.core.findings import Finding, Rule, Severity
from fastness.models.scan.facts import Fact, FactKind, found
from fastness.models.scan.rules import MAPS

TRUSTS_CODE = Rule(
    "config-trusts-code", "A configuration that switches code of others on", Severity.MEDIUM,
    "The setting makes the loader run the code of a repository without asking.",
    "Set trust_remote_code to false, and decide it where the model is loaded.", {**MAPS, "cwe": "CWE-829"},
)  # fmt: skip

Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """The members of an object, repeated keys included."""

    members: list[tuple[str, Tree]]


Tree = Scalar | list["Tree"] | Pairs
Told = Fact | Finding

_DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+")
_WALKS = re.compile(r"[/\\~]|[A-Za-z]:[/\\]|[A-Za-z][A-Za-z0-9+.-]*://|(?:.*[/\\])?\.\.(?:[/\\]|$)")
_NO = frozenset({"", "0", "0.0", "false", "no", "off", "none", "null"})
_KERNEL = re.compile(r"(?:\w+\|)?[A-Za-z0-9][\w.-]*/[\w.-]+(?:@[\w.-]+)?(?::\w+)?")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value stands: the file, its last name, and the key."""

    source: str
    file: str
    key: str


def tell_config(source: str, tree: Tree) -> Iterator[Told]:
    """The facts of one configuration file."""
    file = re.split(r"[/\\!]", source)[-1].lower()
    if file == "modules.json":
        yield from _sentence_modules(source, tree)
    if file == "model_index.json":
        yield from _diffusers_index(source, tree)
    for key, value in _members(tree):
        judge = JUDGES.get(key) or JUDGES.get(key.lower())
        if judge is not None:
            yield from judge(Place(source, file, key), value)
        elif key.endswith("chat_template"):
            yield from _template(Place(source, file, key), value)


def _members(tree: Tree) -> Iterator[tuple[str, Tree]]:
    """Every key with its value, wherever it stands; what several aliases share is met once."""
    waiting: list[Tree] = [tree]
    seen: set[int] = set()
    while waiting:
        node = waiting.pop()
        if not isinstance(node, Pairs | list) or id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, Pairs):
            yield from node.members
        waiting.extend(reversed(inner(node)))


def inner(node: Pairs | list[Tree]) -> list[Tree]:
    """The values that stand directly in an object or list."""
    return [value for _, value in node.members] if isinstance(node, Pairs) else node


def _code(place: Place, what: str, runs: str = "use") -> Fact:
    return Fact(FactKind.CODE, place.source, 0, what, {"language": "Python", "runs": runs})


def _texts(value: Tree) -> Iterator[str]:
    """All texts in a value, however nested, bounded by the file itself."""
    waiting: list[Tree] = [value]
    seen: set[int] = set()
    while waiting:
        node = waiting.pop()
        if isinstance(node, str):
            yield node
        elif isinstance(node, Pairs | list) and id(node) not in seen:
            seen.add(id(node))
            waiting.extend(reversed(inner(node)))


def _remote_code(place: Place, value: Tree) -> Iterator[Told]:
    """`auto_map` and its like: classes of the repository, or of another one as `user/repo--module.Class`."""
    for text in dict.fromkeys(_texts(value)):
        other, _, name = text.rpartition("--")
        what = f"{place.key} names {name}" + (
            f" of the other repository {other}, in whatever state it is" if other else ""
        )
        yield _code(place, what)


def _template(place: Place, value: Tree) -> Iterator[Told]:
    """A text, a list of named texts, or an object of them."""
    for number, text in enumerate(_texts(value)):
        if "{" in text or number == 0:
            yield Fact(FactKind.TEMPLATE, place.source, 0, place.key, {"text": text})


def _trust(place: Place, value: Tree) -> Iterator[Told]:
    """Loaders ask only whether the value is true to Python: 1 and "yes" are."""
    if value is True or (isinstance(value, str | int | float) and str(value).lower() not in _NO):
        yield found(TRUSTS_CODE, place.source, 0, f"{place.key} is true")


def _hydra(place: Place, value: Tree) -> Iterator[Told]:
    for text in _texts(value):
        yield Fact(FactKind.CLASS, place.source, 0, text, {"vocabulary": "hydra"})


def _hydra_dotted(place: Place, value: Tree) -> Iterator[Told]:
    """Keys that name classes in some files and something else in others: only names with dots count."""
    if (
        isinstance(value, str)
        and _DOTTED.fullmatch(value)
        and not value.endswith((".txt", ".json", ".py", ".csv", ".com"))
    ):
        yield Fact(FactKind.CLASS, place.source, 0, value, {"vocabulary": "hydra"})


def _activation(place: Place, value: Tree) -> Iterator[Told]:
    if isinstance(value, str) and "." in value:
        yield Fact(FactKind.CLASS, place.source, 0, value, {"vocabulary": "sentence_transformers"})


def _routes(place: Place, value: Tree) -> Iterator[Told]:
    """`types` of a router of sentence-transformers: the class of each part, imported by its dotted name."""
    for _, name in value.members if isinstance(value, Pairs) else ():
        yield from _activation(place, name)


def _type_hint(place: Place, value: Tree) -> Iterator[Told]:
    """A part of a modular pipeline of diffusers: the library that is imported, and the class in it."""
    names = [part for part in value if isinstance(part, str)] if isinstance(value, list) else []
    if len(names) == 2:
        yield Fact(FactKind.CLASS, place.source, 0, ".".join(names), {"vocabulary": "diffusers"})


def _kernel(place: Place, value: Tree) -> Iterator[Told]:
    for text in _texts(value):
        if _KERNEL.fullmatch(text):
            yield _code(place, f"{place.key} names compiled code of the repository {text}")


def _base_model(place: Place, value: Tree) -> Iterator[Told]:
    if isinstance(value, str) and re.search(r"(?:^|[/\\])\.\.(?:[/\\]|$)|://", value):
        yield Fact(FactKind.REFERENCE, place.source, 0, value)


def _shards(place: Place, value: Tree) -> Iterator[Told]:
    for text in sorted(set(_texts(value))):
        if _WALKS.match(text) or "\0" in text:
            yield Fact(FactKind.REFERENCE, place.source, 0, text)


def _adapted(place: Place, value: Tree) -> Iterator[Told]:
    """PEFT imports the module that `auto_mapping` names, and takes a class from it."""
    fields = {key: text for key, text in value.members if isinstance(text, str)} if isinstance(value, Pairs) else {}
    library, name = str(fields.get("parent_library", "")), str(fields.get("base_model_class", ""))
    if library.startswith("transformers_modules"):
        yield _code(place, f"{place.key} names {library}.{name}")
    elif library and not re.fullmatch(r"(?:transformers|diffusers|timm|torchvision)(?:\.\w+)*", library):
        yield Fact(FactKind.CLASS, place.source, 0, f"{library}.{name}" if name else library, {"vocabulary": "adapter"})


def _megatron(place: Place, value: Tree) -> Iterator[Told]:
    if isinstance(value, str) and value != "megatron.core":
        yield Fact(FactKind.CLASS, place.source, 0, value, {"vocabulary": "adapter"})


def _loader(place: Place, value: Tree) -> Iterator[Told]:
    if isinstance(value, str):
        yield Fact(FactKind.CLASS, place.source, 0, value, {"vocabulary": "mlflow"})


def _model_code(place: Place, value: Tree) -> Iterator[Told]:
    for text in _texts(value):
        yield _code(place, f"{place.key} names {text}", "load")


def _custom_part(place: Place, value: Tree) -> Iterator[Told]:
    for text in _texts(value):
        yield _code(place, f"{place.key} names {text}")


def _sentence_modules(source: str, tree: Tree) -> Iterator[Told]:
    """`modules.json` of sentence-transformers: each `type` is imported by its dotted name."""
    for module in tree if isinstance(tree, list) else ():
        for key, value in module.members if isinstance(module, Pairs) else ():
            if key == "type":
                name = value if isinstance(value, str) else ascii(value)
                yield Fact(FactKind.CLASS, source, 0, name, {"vocabulary": "sentence_transformers"})
            if key == "path" and isinstance(value, str) and _WALKS.match(value):
                yield Fact(FactKind.REFERENCE, source, 0, value)


def _diffusers_index(source: str, tree: Tree) -> Iterator[Told]:
    """`model_index.json`: each part is a pair of a library, or a module of the repository, and a class."""
    for key, value in tree.members if isinstance(tree, Pairs) else ():
        if key == "_class_name":
            parts: list[Tree] = value if isinstance(value, list) else ["diffusers", value]
        elif isinstance(value, list) and len(value) == 2 and not key.startswith("_"):
            parts = value
        else:
            continue
        names = [part for part in parts if isinstance(part, str)]
        if len(names) == 2:
            yield Fact(FactKind.CLASS, source, 0, ".".join(names), {"vocabulary": "diffusers"})


JUDGES: dict[str, Callable[[Place, Tree], Iterator[Told]]] = {
    "auto_map": _remote_code,
    "custom_pipelines": _remote_code,
    "custom_pipeline": _custom_part,
    "custom_generate": _custom_part,
    "custom_diffusion": _custom_part,
    "trust_remote_code": _trust,
    "_target_": _hydra,
    "__target__": _hydra,
    "class_path": _hydra,
    "target": _hydra_dotted,
    "_partial_target_": _hydra,
    "py_module": _custom_part,
    "loader_module": _loader,
    "model_code_path": _model_code,
    "activation_function": _activation,
    "activation_fn": _activation,
    "default_activation_function": _activation,
    "sbert_ce_default_activation_function": _activation,
    "tokenizer_class": _activation,
    "types": _routes,
    "type_hint": _type_hint,
    "attn_implementation": _kernel,
    "_attn_implementation": _kernel,
    "experts_implementation": _kernel,
    "base_model_name_or_path": _base_model,
    "weight_map": _shards,
    "auto_mapping": _adapted,
    "megatron_core": _megatron,
    "chat_template": _template,
    "chat_templates": _template,
}
"""What each key means to the loaders that know it."""
