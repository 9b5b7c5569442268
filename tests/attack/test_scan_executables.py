"""Payloads hidden in the numbers of models, to be cut out and started later. Nothing here may ever run.

Published: Wang, Liu, Cui, "EvilModel: Hiding Malware Inside of Neural Network Models", ISCC 2021, for weights as the
carrier; the plain form of it, whole programs in a storage, is what is found here. Programs spread over the low bits of
many weights are measured in `test_scan_weights`. Success rate of the attacks below: 0.
"""

import pytest

from fastness.core.sources import BytesSource
from fastness.models.scan import Outcome
from fastness.models.scan.budget import ScanSettings
from fastness.models.scan.frame import Job, scan_job
from tests.unit.models.scan.artifacts import EVIL, report_of, rules_of, safetensors, tensor
from tests.unit.models.scan.programs import ELF, MACHO, PE, SCRIPTS, WASM

HIDDEN = {"ELF": ELF, "PE": PE, "Mach-O": MACHO, "WebAssembly": WASM, "shell script": SCRIPTS["shell"], "pickle": EVIL,
          "PE in base64": b"TVqQAAMAAAAEAAAA//8AALgAAAAAAAAAQAAAAAAAAAAAAAAAAAAAAAAAAAA", "ELF in base64": b"f0VMRgIBAQAAAAAAAAAAAAIAPgABAAAA",
          "PowerShell": b"start powershell -enc SQBFAFgAIAA= ", "command file": b"@echo off\r\ndel /q *.*\r\n"}  # fmt: skip


@pytest.mark.parametrize("payload", HIDDEN.values(), ids=HIDDEN)
def test_a_payload_within_a_storage_blocks(payload: bytes) -> None:
    data = bytes(1000) + b"\x3d\x01\x9a\xbc" * 500 + payload + b"\x3d\x01\x9a\xbc" * 500
    report = scan_job(Job(BytesSource("m!archive/data/0", data), readers=frozenset({"raw"})), ScanSettings())
    assert report.outcome is Outcome.BLOCK
    assert report.explained_bytes == len(data)


@pytest.mark.parametrize("payload", HIDDEN.values(), ids=HIDDEN)
def test_a_payload_within_the_tensors_of_a_safetensors_file_blocks(payload: bytes) -> None:
    body = bytes(500) + payload + bytes(500 - len(payload) % 500)
    data = safetensors({"w": tensor(0, len(body), "U8", (len(body),))}, body)
    report = report_of(data, "model.safetensors")
    assert report.outcome is Outcome.BLOCK
    assert rules_of(report) & {"executable-hidden", "pickle-dangerous-call"}
