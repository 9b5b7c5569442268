"""Whatever a text, template or configuration holds: a report, the same twice, and no way to hide a name by its spelling."""

import json

import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fastness.core.sources import BytesSource
from fastness.models.scan import Outcome
from fastness.models.scan.budget import Budget, ScanSettings
from fastness.models.scan.configs import JUDGES
from fastness.models.scan.jsons import NotJson, parse, scan
from fastness.models.scan.python_code import reach_of
from tests.unit.models.scan.artifacts import report_of, rules_of

NAMES = ["c.json", "modules.json", "c.yaml", "MLmodel", "m.py", "s.sh", "README.md", "v.txt", "t.jinja", "a.png", "a.jpg", "a.gif", "a.svg",
         "a.wav", "a.ogg", "a.pdf", "tokenizer.model", "a.parquet", "a.mp4", "model_index.json", "x.index.json", "adapter_config.json"]  # fmt: skip
HEADS = [b"", b"{", b"[", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"GIF89a", b"RIFF\x10\0\0\0WEBP", b"OggS\0", b"%PDF-1.4\n", b"\n\x05\n\x03abc",
         b"PAR1", b"ARROW1", b"\0\0\0\x10ftyp", b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf", b"#!/bin/sh\n", b"{{ a", b"a: !!python/"]  # fmt: skip
TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.sampled_from(["os.system", "x.Y", "../../x", "{{ x.__class__ }}"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(sorted(JUDGES)) | st.text(max_size=6), inner, max_size=4),
    max_leaves=25,
)  # fmt: skip
SMALL = {"inflated_bytes": 1 << 20, "header_bytes": 1 << 16, "fields": 10_000, "opcodes": 20_000, "stack": 5_000}


def check(data: bytes, name: str) -> None:
    report = report_of(data, name, **SMALL)
    assert report == report_of(data, name, **SMALL)
    assert "reader-failed" not in rules_of(report), report.verdict.findings
    assert report.outcome is not Outcome.PASS or report.explained_bytes == report.size


@given(st.sampled_from(HEADS), st.binary(max_size=200), st.sampled_from(NAMES))
@example(b"\xff\xfe", b"\0", "c.json")
@example(b"\xff\xd8\xff\xe0", b"\0\0", "a.jpg")
def test_any_bytes_give_a_report(head: bytes, rest: bytes, name: str) -> None:
    check(head + rest, name)


@given(st.text(max_size=200), st.sampled_from(NAMES))
def test_any_text_gives_a_report(text: str, name: str) -> None:
    check(text.encode("utf-8", "surrogatepass"), name)


@given(TREES, st.sampled_from([name for name in NAMES if name.endswith("json")]))
def test_any_json_gives_a_report(tree: object, name: str) -> None:
    check(json.dumps(tree).encode(), name)


@given(TREES)
def test_any_yaml_gives_a_report(tree: object) -> None:
    check(yaml.safe_dump(tree).encode(), "c.yaml")


def escaped(text: str, marks: list[bool]) -> str:
    return "".join(f"\\u{ord(c):04x}" if mark else c for c, mark in zip(text, marks, strict=False))


@given(TREES, st.lists(st.booleans(), min_size=8, max_size=8), st.integers(0, 3), st.booleans())
def test_a_key_is_found_however_it_is_spelled_and_wherever_it_stands(
    tree: object, marks: list[bool], depth: int, large: bool
) -> None:
    key = escaped("auto_map", marks)
    text = f'{{"{key}": {{"AutoModel": "x.Y"}}, "z": {json.dumps(tree)}}}'
    for _ in range(depth):
        text = f'{{"a": [1, {text}]}}'
    if large:
        found = scan(BytesSource("x", text.encode()), JUDGES, Budget(ScanSettings())).tree
        assert "AutoModel" in str(found)
    else:
        assert "code-in-model" in rules_of(report_of(text.encode(), "c.json"))


@given(st.text(alphabet='{}[]:,"\\ue1\n \x01nulltrefasN', max_size=30))
@settings(max_examples=3 * settings().max_examples)
def test_both_readings_of_json_accept_the_same(text: str) -> None:
    def accepts(read: object) -> bool:
        try:
            read()  # type: ignore[operator]  # a thunk
        except NotJson:
            return False
        return True

    by_scan = accepts(lambda: scan(BytesSource("x", text.encode()), JUDGES, Budget(ScanSettings())))
    assert by_scan == accepts(lambda: parse(text))


@given(st.text(max_size=120))
@example("(" * 150)
@example("lambda:" * 60)
def test_any_source_is_read_or_is_a_problem(text: str) -> None:
    reach = reach_of(text)
    assert isinstance(reach.problem, str)


@given(st.sampled_from(["os.system", "subprocess.Popen", "pty.spawn"]), st.sampled_from("abcxyz"), st.integers(0, 3))
def test_a_dangerous_name_is_followed_through_other_names(path: str, name: str, turns: int) -> None:
    module, _, function = path.partition(".")
    lines = [
        f"import {module} as {name}0",
        *(f"{name}{n + 1} = {name}{n}" for n in range(turns)),
        f"{name}{turns}.{function}('x')",
    ]
    assert reach_of("\n".join(lines)).at_import == (path,)
