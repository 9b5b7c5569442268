"""Credentials are told by kind and place wherever a reader meets text; their content never enters a report."""

import json
import pickle

import pytest

from fastness.models.scan import Outcome
from fastness.models.scan.credentials import credential_in, credentials_within
from tests.unit.models.scan.artifacts import entry, onnx_model, proto, report_of, rules_of, safetensors, tensor

TOKEN = "hf_" + "qRzXbVtYpLmNkJhGfDsAwErTyUiOpLkJhG"
KEY = "AKIA" + "Q7ZT3MNPLK2WXY5R"
SECRET = "RXx2nznYZEGZwOW9v" + "PvIWzfOkcveH8Gw6mtE8W3X"

FILES = {
    "a pickle": ("model.pkl", pickle.dumps({"hub_token": TOKEN, "w": [1]}, 4)),
    "safetensors": ("m.safetensors", safetensors({"__metadata__": {"note": TOKEN}, "w": tensor()}, bytes(16))),
    "ONNX": ("m.onnx", onnx_model(extra=proto(14, entry("key", KEY)))),
    "a configuration": ("config.json", json.dumps({"model_type": "bert", "aws_access_key_id": KEY, "aws_secret_access_key": SECRET}).encode()),
    "requirements": ("requirements.txt", f"--extra-index-url https://x:{TOKEN}@download.pytorch.org/whl\n".encode()),
    "an environment": ("conda.yaml", f"name: x\nvariables:\n  HF_TOKEN: {TOKEN}\ndependencies: [python=3.11]\n".encode()),
    "a note": ("notes.txt", f"token = {TOKEN}\n".encode()),
}  # fmt: skip


@pytest.mark.parametrize(("name", "data"), FILES.values(), ids=FILES)
def test_a_credential_is_for_review_and_is_not_shown(name: str, data: bytes) -> None:
    report = report_of(data, name)
    assert report.outcome is Outcome.REVIEW
    assert "credential-in-model" in rules_of(report)
    assert not any(part in repr(report) for part in (TOKEN[5:], KEY[6:], SECRET))


def test_kinds_and_places() -> None:
    text = f"first {KEY} then {TOKEN}"
    assert credentials_within(text) == [("AWS access key", 6), ("Hugging Face token", text.index("hf_"))]
    assert credential_in(text)
    assert credential_in("nothing here") == ""
    assert credentials_within("") == []
