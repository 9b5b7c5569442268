"""Files that scikit-learn, XGBoost, LightGBM and CatBoost wrote pass, byte by byte; none is blocked or incomplete."""

from pathlib import Path

import pytest

from fastness.models.scan import Outcome, scan_paths

FILES = Path(__file__).parents[3] / "data" / "artifacts"
FAMILIES = ("sklearn", "boosting")
MODELS = [
    path
    for family in FAMILIES
    for folder in sorted((FILES / family).iterdir())
    for path in folder.glob("*")
    if path.is_file()
]


@pytest.mark.parametrize("path", MODELS, ids=lambda path: f"{path.parent.parent.name}-{path.parent.name}")
def test_an_honest_file_passes(path: Path) -> None:
    (report,) = scan_paths([path])
    assert report.outcome is Outcome.PASS, report.verdict.findings
    assert report.explained_bytes == report.size


def test_there_are_files_of_each_family() -> None:
    assert all(sum(path.parent.parent.name == family for path in MODELS) >= 20 for family in FAMILIES)
