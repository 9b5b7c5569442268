"""Secrets that were saved with models, where researchers found them on hubs. Success rate of hiding those below: 0.

Published: Lasso Security, "1500+ Hugging Face API tokens were exposed", 2023 (tokens in repositories of models); Truffle
Security, "Research finds 12,000 live API keys and passwords in training data", 2025.
"""

import json
import pickle

import pytest

from fastness.models.scan import Outcome
from tests.unit.models.scan.artifacts import report_of

TOKEN = "hf_" + "qRzXbVtYpLmNkJhGfDsAwErTyUiOpLkJhG"
OPENAI = "sk-proj-" + "aB3dE5fG7hI9jK1lM3nO5pQ7rS9tU1vW3xY5z" + "T3BlbkFJ" + "Zz9Yy8Xx7Ww6Vv5Uu4Tt3"
PEM = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW\n"
PLACES = {
    "an argument of a trainer": ("training_args.json", json.dumps({"push_to_hub": True, "hub_token": TOKEN}).encode()),
    "a key of a provider": ("generation_config.json", json.dumps({"judge": {"api_key": OPENAI}}).encode()),
    "a database's password": (
        "config.json",
        json.dumps({"store": "postgresql://app:tr0ub4dor3x@db.internal/m"}).encode(),
    ),
    "an environment file": (".env", f"OPENAI_API_KEY={OPENAI}\n".encode()),
    "a card": ("README.md", f"# M\nLoad it with `token='{TOKEN}'`\n".encode()),
    "a pickled configuration": ("model.pkl", pickle.dumps([{"ssh": PEM}], 2)),
    "behind a megabyte of text": ("notes.txt", b"honest words \n" * 90_000 + f"token={TOKEN}\n".encode()),
    "across a window's edge": ("notes.txt", b"x" * ((1 << 20) - 20) + f" {TOKEN} ".encode() + b"y" * 100),
}


@pytest.mark.parametrize(("name", "data"), PLACES.values(), ids=PLACES)
def test_the_secret_is_found(name: str, data: bytes) -> None:
    report = report_of(data, name)
    assert report.outcome in {Outcome.REVIEW, Outcome.BLOCK}
    assert any(finding.rule == "credential-in-model" for finding in report.verdict.findings)
