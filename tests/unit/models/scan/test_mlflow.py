"""MLflow models as wholes: which files loading reaches, and what of that is missing or lies elsewhere."""

from pathlib import Path

import pytest

from fastness.core.findings import Finding, Severity
from fastness.core.sources import BytesSource
from fastness.models.scan.budget import Budget, ScanSettings
from fastness.models.scan.bundles import Bundle
from fastness.models.scan.facts import Fact, FactKind
from fastness.models.scan.layouts.mlflow import MlflowLayout
from tests.unit.models.scan.test_repositories import all_rules, scan_files


def told(files: dict[str, str]) -> list[tuple[str, str]]:
    """What the layout tells of these files: rules, or kinds of fact with what they are about."""
    bundle = Bundle("m", {path: BytesSource(f"m/{path}", text.encode()) for path, text in files.items()})
    items = MlflowLayout().read(bundle, Budget(ScanSettings()))
    return [(i.rule, "") if isinstance(i, Finding) else (i.kind.value, about(i)) for i in items]


def about(fact: Fact) -> str:
    return fact.source if fact.kind is FactKind.CODE else fact.name


def flavor(*lines: str) -> str:
    return "flavors:\n  python_function:\n" + "".join(f"    {line}\n" for line in lines)


CODE = "x = 1\n"
CASES: dict[str, tuple[dict[str, str], list[tuple[str, str]]]] = {
    "nothing but a flavor": ({"MLmodel": flavor("loader_module: mlflow.sklearn")}, []),
    "code paths": (
        {"MLmodel": flavor("loader_module: mlflow.sklearn", "code: code"), "code/a.py": CODE, "code/p/b.py": CODE, "other.py": CODE, "code/c.txt": ""},
        [("code", "m/code/a.py"), ("code", "m/code/p/b.py")],
    ),
    "a loader of the model": ({"MLmodel": flavor("loader_module: own"), "own.py": CODE, "other.py": CODE}, [("code", "m/own.py")]),
    "a loader that is a package": ({"MLmodel": flavor("loader_module: own"), "own/__init__.py": CODE}, [("code", "m/own/__init__.py")]),
    "a model within a folder": ({"sub/MLmodel": flavor("loader_module: x", "code: code"), "sub/code/x.py": CODE, "code/y.py": CODE}, [("code", "m/sub/code/x.py")]),
    "the folder itself as code": ({"MLmodel": flavor("code: ."), "a.py": CODE}, [("code", "m/a.py")]),
    "a file as the model's code": ({"MLmodel": flavor("model_code_path: chain.py"), "chain.py": CODE}, [("code", "m/chain.py")]),
    "a pickle that is there": ({"MLmodel": flavor("python_model: m.pkl"), "m.pkl": ""}, []),
    "a pickle that is missing": ({"MLmodel": flavor("python_model: m.pkl")}, [("mlflow-missing-part", "")]),
    "a pickle elsewhere": ({"MLmodel": flavor("python_model: ../m.pkl")}, [("reference", "../m.pkl")]),
    "an artifact elsewhere": ({"MLmodel": flavor("artifacts:", "  a: {path: /etc/passwd, uri: x}")}, [("reference", "/etc/passwd")]),
    "code elsewhere": ({"MLmodel": flavor("code: ../../lib")}, [("reference", "../../lib")]),
    "no code": ({"MLmodel": flavor("code: null", "model_path: model.pkl"), "model.pkl": ""}, []),
    "not YAML": ({"MLmodel": "a: [", "a.py": CODE}, []),
    "no flavors": ({"MLmodel": "- a\n"}, []),
}  # fmt: skip


@pytest.mark.parametrize(("files", "expected"), CASES.values(), ids=CASES)
def test_the_layout_tells_what_loading_reaches(files: dict[str, str], expected: list[tuple[str, str]]) -> None:
    assert told(files) == expected


def test_code_that_loading_imports_is_for_review_even_if_it_is_harmless(tmp_path: Path) -> None:
    model = flavor("loader_module: mlflow.sklearn", "code: code")
    reports = scan_files(tmp_path, {"MLmodel": model, "code/tests/helper.py": CODE})
    assert "code-in-model" in all_rules(reports)
    assert max(f.severity for r in reports for f in r.verdict.findings) is Severity.MEDIUM


def test_a_model_within_an_archive_folder_is_claimed_by_its_name_alone() -> None:
    assert MlflowLayout().claims(Bundle("m", {"a/b/MLmodel": BytesSource("x", b"")}))
    assert not MlflowLayout().claims(Bundle("m", {"mlmodel": BytesSource("x", b"")}))
    assert MlflowLayout().reader("a/MLmodel", Bundle("m", {})) == "yaml"
