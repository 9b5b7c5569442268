"""What configurations of models say that makes a loader run code, read another file or render a template.

One walk for JSON and YAML, over keys wherever they stand, because loaders merge and nest configurations freely. A value
under a repeated key is judged like the one that wins. The walk is iterative and follows no alias twice.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from fastness.core.findings import Finding, Rule, Severity
from fastness.models.scan.commands import told_of
from fastness.models.scan.facts import Fact, FactKind, found
from fastness.models.scan.rules import MAPS

TRUSTS_CODE = Rule(
    "config-trusts-code", "A configuration that switches code of others on", Severity.MEDIUM,
    "The setting makes the loader run the code of a repository without asking.",
    "Set trust_remote_code to false, and decide it where the model is loaded.", {**MAPS, "cwe": "CWE-829"},
)  # fmt: skip

READS_SECRET = Rule(
    "config-reads-secret", "A configuration that takes a secret out of the environment", Severity.LOW,
    "Whoever loads it hands a key or password of the machine to whatever the value is for; within an address it leaves the machine.",
    "Compare what the value is for with the documentation of the model.", {**MAPS, "cwe": "CWE-526"},
)  # fmt: skip
RUNS_TEXT = Rule(
    "config-runs-text", "A configuration with code in a value that is worked out", Severity.HIGH,
    "A resolver such as `eval` runs the text as Python while the configuration is read.",
    "Do not load it. Write the value itself.", {**MAPS, "cwe": "CWE-95", "atlas": "AML.T0011.000"},
)  # fmt: skip

RULES = (TRUSTS_CODE, READS_SECRET, RUNS_TEXT)

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
        else:
            yield from _by_sort_of_key(Place(source, file, key), value)
    yield from _by_file(source, file, tree)
    if not file.endswith(".ipynb"):
        for text in dict.fromkeys(text for text in _texts(tree) if "{" in text):
            yield from tell_value(source, text)


_NAMING = frozenset(
    {"()", "type", "_type_", "class", "_class", "cls", "class_name", "classname", "__class__", "callable", "function", "func", "fn", "factory", "handler", "module",
     "import", "entry_point", "entrypoint", "loader", "constructor", "builder", "hook", "hooks", "callback", "callbacks", "resolver", "object", "obj", "name",
     "python_function", "_fn_", "__fn__", "method", "__init__", "init", "target_class", "loss_fn", "transform", "collate_fn", "_call_", "runnable"}
)  # fmt: skip
_COMMANDS = frozenset(
    {"cmd", "command", "commands", "entry", "entrypoint", "run", "script", "scripts", "setup_script", "exec", "shell", "args", "postinstall", "preinstall",
     "before_script", "after_script", "pre_run", "post_run", "build_command", "start_command", "startcommand", "bash", "hook", "hooks", "poststart", "prestop"}
)  # fmt: skip
_REGISTRIES = frozenset(
    {f"@{name}" for name in ("architectures", "annotation_setters", "augmenters", "batchers", "callbacks", "datasets", "encoder_loaders", "factories",
                             "initializers", "layers", "lemmatizers", "llm_backends", "llm_misc", "llm_models", "llm_queries", "llm_tasks", "loggers", "losses",
                             "misc", "model_loaders", "models", "ops", "optimizers", "readers", "schedules", "scorers", "span_getters", "tokenizers", "vectors")}
)  # fmt: skip
"""Those of spaCy, as its configurations name them."""
_TRITON = frozenset({"tensorrt", "tensorrt_plan", "onnxruntime", "onnxruntime_onnx", "tensorflow", "tensorflow_savedmodel", "tensorflow_graphdef", "pytorch",
                     "pytorch_libtorch", "openvino", "fil", "tensorrtllm", "identity", "ensemble"})  # fmt: skip


def _by_sort_of_key(place: Place, value: Tree) -> Iterator[Told]:
    """Keys that in some program name what is called, or what is run: only what is known to be dangerous is told."""
    key = place.key.lower()
    if key in _REGISTRIES and isinstance(value, str):
        yield Fact(FactKind.CLASS, place.source, 0, value, {"vocabulary": "spacy"})
    if key == "_type" and isinstance(value, str):
        yield Fact(FactKind.CLASS, place.source, 0, value, {"vocabulary": "langchain", "only": "dangerous"})
    for text in _direct(value) if key in _NAMING else ():
        if _NAMED.fullmatch(text) and not (isinstance(value, str) and value in _LOG_FILES):
            yield Fact(FactKind.CLASS, place.source, 0, text, {"vocabulary": "named", "only": "dangerous"})
    if key in _COMMANDS:
        yield from told_of(place.source, "\n".join((" ".join(_direct(value)), *_direct(value))))


def _folder(place: Place, value: Tree) -> Iterator[Told]:
    if isinstance(value, str) and value:
        yield _code(place, f"{place.key} names the folder {value[:60]}, which fairseq imports")


def _included(place: Place, value: Tree) -> Iterator[Told]:
    for text in _texts(value):
        yield _code(place, f"{place.key} names {text}", "load")


_NAMED = re.compile(r"[A-Za-z_]\w*(?:[.:][A-Za-z_]\w*)+")


def _direct(value: Tree) -> list[str]:
    """A text, or the texts of a list."""
    return [text for text in (value if isinstance(value, list) else [value]) if isinstance(text, str)]


def _by_file(source: str, file: str, tree: Tree) -> Iterator[Told]:
    """What only files of one name, or of one build, say."""
    members = dict(tree.members) if isinstance(tree, Pairs) else {}
    if "dataset_reader" in members and {"model", "trainer"} & members.keys():
        yield from _allennlp(source, tree)
    if file in {"bento.yaml", "bentofile.yaml"} and isinstance(service := members.get("service"), str):
        yield _code(Place(source, file, "service"), f"service names {service}", "use")
    if file == "config.pbtxt":
        yield from _triton(Place(source, file, "backend"), members.get("backend") or members.get("platform"))
    if "nlp" in members:
        yield from _spacy_components(source, members)
    if {"backbone", "head"} & members.keys() or {"train", "val"} <= members.keys():
        yield from _yolo(source, members)
    for node in _objects(tree):
        yield from _langchain(source, dict(node.members))
        yield from _log_file(source, node)


_LOG_FILES = frozenset(
    {
        "logging.FileHandler",
        *(f"logging.handlers.{name}FileHandler" for name in ("Rotating", "TimedRotating", "Watched")),
    }
)
_LOG = re.compile(r"(?![^\n]*(?:^|[/\\])\.\.(?:[/\\]|$))[^\0\n]{1,400}\.(?:log|txt|jsonl|out|err)")


def _log_file(source: str, node: Pairs) -> Iterator[Told]:
    """Handlers of logging that write a file: told unless every name for the file is that of a log."""
    files = [value for key, value in node.members if key == "filename"]
    logs = files and all(isinstance(file, str) and _LOG.fullmatch(file) for file in files)
    for key, value in () if logs else node.members:
        if key.lower() in _NAMING and isinstance(value, str) and value in _LOG_FILES:
            yield Fact(FactKind.CLASS, source, 0, value, {"vocabulary": "named", "only": "dangerous"})


_PLAIN_CALL = re.compile(r"[A-Za-z_][\w.]{0,80}(?:\([\w., =+-]{0,80}\))?")


def _yolo(source: str, members: Mapping[str, Tree]) -> Iterator[Told]:
    """Networks of YOLO in YAML, whose layers and activation go through `eval`, and data sets with a program that fetches them."""
    texts = [text for key in ("backbone", "head", "activation", "act") for text in _texts(members.get(key))]
    for text in texts:
        if (_PLAIN_CALL.fullmatch(text) is None and _ACTS.search(text)) or "__" in text:
            yield found(RUNS_TEXT, source, 0, f"a layer is {text[:80]!a}")
    fetches = members.get("download")
    if isinstance(fetches, str) and re.search(r"\s", fetches.strip()):
        language = "shell" if fetches.startswith("bash ") else "Python"
        yield Fact(FactKind.CODE, source, 0, "the program that fetches the data", {"language": language, "runs": "use"})
        yield from told_of(source, fetches.removeprefix("bash "))


def _triton(place: Place, backend: Tree) -> Iterator[Told]:
    if isinstance(backend, str) and backend and backend not in _TRITON:
        yield _code(place, f"the backend {backend[:40]!a} of Triton runs code of the model")


def _langchain(source: str, fields: Mapping[str, Tree]) -> Iterator[Told]:
    """Objects that LangChain makes out of JSON, and secrets that it reads (CVE-2025-68664)."""
    name = fields.get("id")
    if "lc" in fields and fields.get("type") == "constructor" and isinstance(name, list):
        yield Fact(FactKind.CLASS, source, 0, ".".join(_direct(name)), {"vocabulary": "langchain"})
    elif "lc" in fields and fields.get("type") == "secret":
        yield found(READS_SECRET, source, 0, f"{' '.join(_direct(name))[:60]!a} is read")


def _spacy_components(source: str, members: Mapping[str, Tree]) -> Iterator[Told]:
    """The factory of each component: another name than spaCy's own is registered by code beside the model."""
    for section, value in members.items():
        for key, factory in value.members if isinstance(value, Pairs) and section.count(".") == 1 else ():
            if section.startswith("components.") and key == "factory" and isinstance(factory, str):
                yield Fact(FactKind.CLASS, source, 0, factory, {"vocabulary": "spacy"})


def _objects(tree: Tree) -> Iterator[Pairs]:
    waiting: list[Tree] = [tree]
    seen: set[int] = set()
    while waiting:
        node = waiting.pop()
        if isinstance(node, Pairs | list) and id(node) not in seen:
            seen.add(id(node))
            if isinstance(node, Pairs):
                yield node
            waiting.extend(inner(node))


def _allennlp(source: str, tree: Tree) -> Iterator[Told]:
    """Experiments of AllenNLP import what a `type` with dots names."""
    for key, value in _members(tree):
        if key == "type" and isinstance(value, str) and re.search(r"[.:]", value):
            yield Fact(FactKind.CLASS, source, 0, value, {"vocabulary": "allennlp"})


_SECRET_NAME = re.compile(
    r"\$\{\s*(?:oc\.)?env:\s*[\"']?(\w*(?:KEY|TOKEN|SECRET|PASS(?:WORD|WD)?|CREDENTIAL\w*)\w*)", re.IGNORECASE
)
_RESOLVED = re.compile(
    r"\$\{\s*(?:eval|exec|python|py|lambda|expr|calc|shell|sh|cmd|system|import|call|fn|func)\s*:([^\n]{1,2000})",
    re.IGNORECASE,
)
_ACTS = re.compile(
    r"__\w+__|\bimport\b|\bopen\s*\(|\b(?:exec|eval|compile|getattr|system|popen|subprocess|globals|locals|breakpoint)\b"
)
_TEMPLATE_ESCAPE = re.compile(
    r"__\s*(?:class|mro|bases?|subclasses|globals|builtins|init|import|dict|getattribute|getitem|code|func|self|reduce\w*|loader|call|module)\s*__"
    r"|\|\s*(?:attr|map)\b|\\x5f|\\u005f|\b(?:cycler|joiner|lipsum|get_flashed_messages|url_for|namespace|config|request|self)\b\s*[.\[|]"
)
_LONGEST_TEMPLATE = 1 << 16


def tell_value(source: str, text: str) -> Iterator[Told]:
    """What a text within a configuration, or a prompt, does when it is worked out: templates that escape, resolvers."""
    if "${" in text:
        for match in _RESOLVED.finditer(text):
            if _ACTS.search(match[1]):
                yield found(RUNS_TEXT, source, 0, f"it holds {match[0][:80]!a}")
        if (secret := _SECRET_NAME.search(text)) is not None:
            leaves = re.search(r"://[^\s]*\$\{\s*(?:oc\.)?env:", text, re.IGNORECASE)
            told = found(READS_SECRET, source, 0, f"{secret[1][:60]!a} is read{' into an address' if leaves else ''}")
            yield replace(told, severity=Severity.MEDIUM) if leaves else told
    if ("{{" in text or "{%" in text) and len(text) <= _LONGEST_TEMPLATE and _TEMPLATE_ESCAPE.search(text):
        yield Fact(FactKind.TEMPLATE, source, 0, "a text", {"text": text, "only": "escape"})


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
        member = place.file == "resources-1.json" and value[0].isupper()  # a member of a message, in the SDK of AWS
        detail: dict[str, str | int] = (
            {"vocabulary": "named", "only": "dangerous"} if member else {"vocabulary": "hydra"}
        )
        yield Fact(FactKind.CLASS, place.source, 0, value, detail)


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
    "_attn_implementation_internal": _kernel,
    "_experts_implementation": _kernel,
    "_experts_implementation_internal": _kernel,
    "experts_implementation": _kernel,
    "base_model_name_or_path": _base_model,
    "weight_map": _shards,
    "auto_mapping": _adapted,
    "megatron_core": _megatron,
    "user_dir": _folder,
    "include_package": _included,
    "include_packages": _included,
    "chat_template": _template,
    "chat_templates": _template,
}
"""What each key means to the loaders that know it."""
