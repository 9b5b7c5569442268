"""Names that configurations look up."""

import json
from pathlib import Path

import pytest

from fastness.core.findings import Severity
from fastness.models.scan.checks import classes
from fastness.models.scan.checks.classes import Classes, leads_to_danger, names, vocabulary
from fastness.models.scan.facts import Fact, FactKind, Facts

CASES = {
    # vocabulary, name, severity
    "allowed": ("yaml", "argparse.Namespace", None),
    "allowed in another vocabulary only": ("nobody", "argparse.Namespace", Severity.MEDIUM),
    "unknown": ("yaml", "company.models.Head", Severity.MEDIUM),
    "an allowed name in other letters": ("yaml", "argparse.namespace", Severity.MEDIUM),
    "an allowed name with more": ("yaml", "argparse.Namespace.__init__", Severity.MEDIUM),
    "a dangerous function": ("yaml", "os.system", Severity.HIGH),
    "a dangerous function of a vocabulary nobody wrote": ("nobody", "subprocess.Popen", Severity.HIGH),
    "with a colon": ("nobody", "subprocess:Popen", Severity.HIGH),
    "a bare builtin": ("nobody", "eval", Severity.HIGH),
    "a walk through another module": ("nobody", "logging.os.system", Severity.HIGH),
    "very long": ("nobody", "a." * 10_000 + "b", Severity.MEDIUM),
    "empty": ("nobody", "", Severity.MEDIUM),
}


@pytest.mark.parametrize(("vocabulary", "name", "severity"), CASES.values(), ids=CASES)
def test_names_are_judged_exactly(vocabulary: str, name: str, severity: Severity | None) -> None:
    fact = Fact(FactKind.CLASS, "config.yaml", 7, name, {"vocabulary": vocabulary})
    found = [(f.severity, f.where) for f in Classes().check(Facts([fact]))]
    assert found == ([] if severity is None else [(severity, "config.yaml@7")])


def test_every_vocabulary_says_why_and_from_where() -> None:
    assert names() >= {"yaml", "hydra", "diffusers", "sentence_transformers", "mlflow", "adapter"}
    for path in Path(classes.FOLDER).glob("*.json"):
        tree = json.loads(path.read_bytes())
        assert tree["about"]
        for group in (*tree["allowed"], *tree.get("dangerous", ())):
            assert group["names"]
            assert group["why"]
            assert group["source"]


def test_no_vocabulary_allows_what_pickles_may_not_reach() -> None:
    known = {
        "skops": {"functools.partial", "operator.itemgetter"}
    }  # nodes of their own; what they hold is judged by itself
    for name in names():
        assert {one for one in vocabulary(name).allowed if leads_to_danger(one)} <= known.get(name, set()), name
