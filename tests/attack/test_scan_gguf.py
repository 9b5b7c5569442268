"""Attack: GGUF files that run code where they are used, or write where their loader does not look. Success rate: 0.

CVE-2024-34359 (templates, llama-cpp-python), CVE-2024-21802, -21825, -21836, -23496, -23605 (llama.cpp's loader), and files
that are two things at once.
"""

import io
import struct
import zipfile

import pytest

from fastness.models.scan import Outcome
from tests.unit.models.scan.artifacts import report_of, rules_of
from tests.unit.models.scan.test_gguf import WEIGHT, gguf, info, pair, text

ESCAPE = "{{ cycler.__init__.__globals__.os.popen('true').read() }}"
HONEST = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] }}{% endfor %}"
TEMPLATES = {
    "the template": [("tokenizer.chat_template", ESCAPE)],
    "a named template": [("tokenizer.chat_template", HONEST), ("tokenizer.chat_template.rag", ESCAPE)],
    "a named template of another case": [("tokenizer.chat_template", HONEST), ("Tokenizer.Chat_Template.x", ESCAPE)],
    "behind a long honest beginning": [("tokenizer.chat_template", HONEST * 200 + ESCAPE)],
    "by subscript": [("tokenizer.chat_template", "{{ namespace.__init__['__glo'~'bals__']['os'].system('true') }}")],
    "by filter": [("tokenizer.chat_template", "{{ ''|attr('__cl'~'ass__')|attr('__mro__') }}")],
    "of an adapter": [("adapter.lora.prompt_template", ESCAPE)],
}


@pytest.mark.parametrize("pairs", TEMPLATES.values(), ids=TEMPLATES)
def test_cve_2024_34359_templates_that_leave_their_sandbox(pairs: list[tuple[str, str]]) -> None:
    data = gguf([pair("general.architecture", "llama"), *(pair(*one) for one in pairs)])
    assert report_of(data, "model.gguf").outcome is Outcome.BLOCK


def test_an_honest_template_passes() -> None:
    assert report_of(gguf([pair("tokenizer.chat_template", HONEST)]), "model.gguf").outcome is Outcome.PASS


LOADER = {
    "CVE-2024-21802, more dimensions than room": gguf([], [info(dims=(1,) * 5, count=5)], bytes(64)),
    "CVE-2024-21802, dimensions beyond all": gguf([], [info(count=0xFFFFFFFF)], bytes(64)),
    "CVE-2024-21825, a list of texts beyond all": gguf([pair("k", struct.pack("<IQ", 8, (1 << 64) - 1), 9)]),
    "CVE-2024-21836, more tensors than there is": gguf(counts=((1 << 64) // 88 + 1, 0)),
    "CVE-2024-23496, a text whose length wraps": gguf([text("k") + struct.pack("<IQ", 8, (1 << 64) - 1)]),
    "CVE-2024-23605, more keys than there are": gguf(counts=(0, (1 << 64) // 56 + 1)),
    "sizes that wrap": gguf([], [info(dims=(1 << 33, 1 << 31))], WEIGHT),
    "an offset that wraps": gguf([], [info(offset=(1 << 64) - 32)], WEIGHT),
    "an alignment of nothing": gguf([pair("general.alignment", bytes(4), 4)], [info()], WEIGHT),
}


@pytest.mark.parametrize("data", LOADER.values(), ids=LOADER)
def test_numbers_that_loaders_trusted(data: bytes) -> None:
    assert report_of(data, "model.gguf").outcome is Outcome.BLOCK


def test_an_archive_behind_the_model_is_opened() -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("x.pkl", b"cos\nsystem\n(S'true'\ntR.")
    report = report_of(gguf([], [info()], WEIGHT) + packed.getvalue(), "model.gguf")
    assert report.outcome is Outcome.BLOCK
    assert "pickle-dangerous-call" in rules_of(report)


def test_a_llamafile_is_a_program_and_its_model_is_read() -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("model.gguf", gguf([pair("tokenizer.chat_template", ESCAPE)]))
        archive.writestr(".args", "-m\nmodel.gguf\n")
    program = b"MZqFpD='\n" + b"\0" * 60 + b"#!/bin/sh\nexit 0\n" + bytes(400)
    report = report_of(program + packed.getvalue(), "model.llamafile")
    assert report.outcome is not Outcome.PASS
    assert "gguf" in report.formats


def test_many_small_values_cost_no_more_than_allowed() -> None:
    data = gguf([pair(f"k{n}", bytes(4), 4) for n in range(2000)])
    assert rules_of(report_of(data, "m.gguf", fields=1000)) == {"budget-spent"}
    assert report_of(data, "m.gguf").outcome is Outcome.PASS
