"""Texts that a model carries beside its weights under a key, such as the metadata of safetensors and ONNX.

Programs take configurations, templates and whole files out of them: what stands there is judged as it would be in a file
of its own. Misses: configurations in other notations than JSON, YAML and Python's, but for the names of what is called.

Source: Apple's ml-flextok and Salesforce's uni2ts made objects by names from such texts (CVE-2025-23304 and its like).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from fastness.core.findings import Finding
from fastness.models.scan.configs import Pairs, tell_config
from fastness.models.scan.facts import Fact, FactKind, Member
from fastness.models.scan.jsons import NotJson, parse
from fastness.models.scan.texts import Told

_LONGEST = 1 << 20
_CALLED = re.compile(
    r"[\"']?(?:_target_|__target__|_instantiator|class_path)[\"']?\s{0,8}[:=]\s{0,8}[\"']?([A-Za-z_][\w.:]{1,200})"
)
_BRACKETS = ("{", "[")


def tell_free_text(source: str, key: str, text: str, offset: int) -> Iterator[Fact | Finding | Member]:
    """What stands in one text: credentials, hidden files, templates, and what a configuration names."""
    told = Told()
    told.look(source, text, offset, small=True)
    yield from told.facts
    if key.lower().endswith("chat_template"):
        yield Fact(FactKind.TEMPLATE, source, offset, key, {"text": text})
    if len(text) > _LONGEST:
        return
    names = dict.fromkeys(_CALLED.findall(text))
    for name in names:
        yield Fact(FactKind.CLASS, source, offset, name, {"vocabulary": "hydra"})
    if text.lstrip().startswith(_BRACKETS):
        try:
            tree = parse(text).tree
        except NotJson:
            return
        for item in tell_config(source, Pairs([(key, tree)])):
            if not isinstance(item, Fact):
                yield item
            elif item.name not in names:
                yield replace(item, offset=offset)
