"""What a model asks to be installed: read from each kind of file, judged by where it comes from, its name and its version."""

import pytest

from fastness.core.sources import BytesSource
from fastness.models.scan import Outcome
from fastness.models.scan.budget import Budget, ScanSettings
from fastness.models.scan.catalogue import all_readers
from fastness.models.scan.checks.packages import distance, imitation_of
from fastness.models.scan.facts import Fact, FactKind
from tests.unit.models.scan.artifacts import report_of, rules_of

READERS = {reader.name: reader for reader in all_readers()}
INDEX = "https://py" + "pi.org/simple"


def packages(reader: str, text: str, name: str = "m") -> list[tuple[str, ...]]:
    """Name, specifier, origin and address of each demand."""
    told = READERS[reader].read(BytesSource(name, text.encode()), Budget(ScanSettings()))
    facts = [item for item in told if isinstance(item, Fact) and item.kind is FactKind.PACKAGE]
    return [(f.name, *(str(f.detail[key]) for key in ("specifier", "origin", "address"))) for f in facts]


REQUIREMENTS = [
    ("numpy", ("numpy", "", "index", "")),
    ("Scikit_Learn == 1.6.0  # pinned", ("scikit-learn", "==1.6.0", "index", "")),
    ("torch[opt]>=2,<3; python_version > '3.8'", ("torch", "<3,>=2", "index", "")),
    ("torch==2.1.0+cu118 --hash=sha256:abc --hash=sha256:def", ("torch", "==2.1.0+cu118", "index", "")),
    ("nu\\\nmpy==1.0", ("numpy", "==1.0", "index", "")),
    ("numpy=1.19.2=py38h54aff64_0", ("numpy", "==1.19.2", "index", "")),
    ("pandas>=1.3.*", ("pandas", ">=1.3.*", "index", "")),
    ("git+https://example.org/x.git@main#egg=x_y", ("x-y", "", "vcs", "git+https://example.org/x.git@main#egg=x_y")),
    ("pkg @ https://example.org/p.whl", ("pkg", "", "url", "https://example.org/p.whl")),
    ("https://user:pw@example.org/p.whl", ("", "", "url", "https://***@example.org/p.whl")),
    ("./wheels/evil-1.0-py3-none-any.whl", ("", "", "path", "./wheels/evil-1.0-py3-none-any.whl")),
    ("wheels/evil-1.0-py3-none-any.whl", ("", "", "path", "wheels/evil-1.0-py3-none-any.whl")),
    ("-e git+ssh://git@example.org/x.git", ("", "", "vcs", "git+ssh://***@example.org/x.git")),
    ("-e .", ("", "", "path", ".")),
    ("-r other.txt", ("", "", "include", "other.txt")),
    ("--requirement=other.txt", ("", "", "include", "other.txt")),
    ("--index-url=https://a.example/s", ("--index-url", "", "option", "https://a.example/s")),
    ("-ihttps://a.example/s", ("--index-url", "", "option", "https://a.example/s")),
    ("--trusted-host a.example", ("--trusted-host", "", "option", "a.example")),
    ("--pre", ("--pre", "", "option", "")),
]


@pytest.mark.parametrize(("line", "expected"), REQUIREMENTS, ids=[line for line, _ in REQUIREMENTS])
def test_a_line_of_requirements(line: str, expected: tuple[str, ...]) -> None:
    assert packages("requirements", f"# about\n\n{line}\n") == [expected]


@pytest.mark.parametrize("mark", ["utf-8", "utf-8-sig", "utf-16"])
def test_requirements_in_the_encodings_that_pip_reads(mark: str) -> None:
    report = report_of("torch==1.13.0\n".encode(mark), "requirements.txt")
    assert "package-vulnerable" in rules_of(report)


@pytest.mark.parametrize(
    "text", ["this is prose, no list", "numpy==", "--frobnicate x", "-r", "a b c", "name @ ", "\0"]
)
def test_what_pip_would_not_understand_is_incomplete(text: str) -> None:
    report = report_of(text.encode(), "requirements.txt")
    assert report.outcome is Outcome.INCOMPLETE
    assert "requirements-malformed" in rules_of(report)


CONDA = """
name: mlflow-env
channels: [conda-forge]
dependencies:
- python=3.10.13
- numpy=1.24.3=py310h1
- conda-forge::pandas>=2
- pip<=23
- pip:
  - mlflow==2.19.0
  - git+https://example.org/x.git
"""
PYTHON_ENV = """
python: 3.10.13
build_dependencies: [pip==23.0, setuptools==65]
dependencies:
- -r requirements.txt
"""
PYPROJECT = """
[build-system]
requires = ["setuptools>=61"]
build-backend = "own"
backend-path = ["."]
[project]
name = "x"
dependencies = ["torch==1.13.0", "a @ https://example.org/a.whl"]
[project.optional-dependencies]
dev = ["pytest"]
[dependency-groups]
lint = ["ruff==0.1"]
[tool.poetry.dependencies]
python = "^3.10"
pandas = {version = "==2.0", extras = ["x"]}
own = {git = "https://example.org/own.git"}
[[tool.poetry.source]]
name = "other"
url = "https://other.example/simple"
[[tool.uv.index]]
url = "https://uv.example/simple"
"""
METADATA = "Metadata-Version: 2.1\nName: My_Pkg\nVersion: 1.0\nRequires-Dist: torch (==1.13.0)\nRequires-Dist: dev; extra == 'd'\n\nRequires-Dist: not-one\n"


def test_environments_of_conda() -> None:
    assert [p[:3] for p in packages("conda", CONDA)] == [
        ("channel", "", "option"),
        ("python", "==3.10.13", "index"),
        ("numpy", "==1.24.3", "index"),
        ("pandas", ">=2", "index"),
        ("pip", "<=23", "index"),
        ("mlflow", "==2.19.0", "index"),
        ("", "", "vcs"),
    ]


def test_environments_of_mlflow() -> None:
    assert [p[:3] for p in packages("conda", PYTHON_ENV)] == [
        ("pip", "==23.0", "index"),
        ("setuptools", "==65", "index"),
        ("", "", "include"),
    ]


def test_projects() -> None:
    found = {(p[0], p[2]) for p in packages("pyproject", PYPROJECT)}
    assert found == {
        ("setuptools", "index"), ("torch", "index"), ("a", "url"), ("pytest", "index"), ("ruff", "index"), ("pandas", "index"),
        ("own", "vcs"), ("--index-url", "option"),
    }  # fmt: skip
    assert "pyproject-own-backend" in rules_of(report_of(PYPROJECT.encode(), "pyproject.toml"))


@pytest.mark.parametrize("name", ["uv.lock", "poetry.lock"])
def test_locks(name: str) -> None:
    text = '[[package]]\nname = "torch"\nversion = "1.13.0"\n[[package]]\nname = "x"\nversion = "1"\nsource = {git = "https://e.example/x"}\n'
    assert {(p[0], p[2]) for p in packages("pyproject", text)} == {("torch", "index"), ("x", "vcs")}
    assert {"package-vulnerable", "package-elsewhere"} <= rules_of(report_of(text.encode(), name))


def test_metadata_of_a_wheel() -> None:
    assert [p[:3] for p in packages("wheel", METADATA)] == [
        ("torch", "==1.13.0", "index"),
        ("dev", "", "index"),
        ("my-pkg", "==1.0", "brought"),
    ]


JUDGED = {
    # line: rule, outcome
    "numpy==2.1.0": ("", "pass"),
    f"--index-url {INDEX}\nnumpy==2.1.0": ("", "pass"),
    "--extra-index-url https://download.pytorch.org/whl/cpu\ntorch==2.6.0": ("", "pass"),
    "numpy": ("package-unpinned", "pass"),
    "x @ file:///croot/x_1234/work": ("package-local-path", "pass"),
    "--index-url https://evil.example/simple": ("package-index", "review"),
    f"--index-url {INDEX[:-7]}.evil.example/": ("package-index", "review"),
    "-f https://evil.example/": ("package-index", "review"),
    "--index-url http://198.51.100.7/simple": ("package-unprotected", "block"),
    "--trusted-host evil.example": ("package-unprotected", "block"),
    "git+http://198.51.100.7/x.git@main#egg=torch": ("package-unprotected", "block"),
    "git+https://example.org/x.git": ("package-elsewhere", "review"),
    "./wheels/evil.whl": ("package-elsewhere", "review"),
    "-e .": ("package-elsewhere", "review"),
    "-r elsewhere.txt": ("package-list-elsewhere", "review"),
    'x==1 --global-option="--verbose"': ("package-option", "review"),
    "torchh==2.0": ("package-imitation", "review"),
    "tensorfow==2.0": ("package-imitation", "review"),
    "numpi==2.0": ("package-imitation", "review"),
    "sk1earn-scikit==1": ("", "pass"),
    "torch==1.13.0": ("package-vulnerable", "review"),
    "scikit-learn==1.4.0": ("package-weakness", "pass"),
    "torchtriton==2.0": ("package-malicious", "block"),
    "ultralytics==8.3.41": ("package-malicious", "block"),
    "ultralytics==8.3.43": ("", "pass"),
}


@pytest.mark.parametrize(
    ("text", "expected"), JUDGED.items(), ids=[text.replace(INDEX[:-7], "INDEX") for text in JUDGED]
)
def test_judgements(text: str, expected: tuple[str, str]) -> None:
    report = report_of(text.encode(), "requirements.txt")
    rule, outcome = expected
    assert report.outcome.value == outcome
    assert {name for name in rules_of(report) if name.startswith("package")} == ({rule} if rule else set())


def test_a_password_of_an_index_is_a_credential_and_is_not_shown() -> None:
    report = report_of(b"--index-url https://ci:Zq8kk2Lz0pTx@a.example/simple\n", "requirements.txt")
    assert {"credential-in-model", "package-index"} <= rules_of(report)
    assert "Zq8kk" not in repr(report)


def test_known_names_are_no_imitations() -> None:
    for name in ("torchx", "scapy", "numpyro", "keras-core", "tokenizer", "sklearn", "jax", "flax", "pandera", "dash"):
        assert imitation_of(name) == ""


@pytest.mark.parametrize(
    "name",
    [
        "torhc",
        "trochvision",
        "tenserflow",
        "tensorflwo",
        "sciklt-learn",
        "scikitlearn",
        "huggingfacehub",
        "transfomers",
        "pyt0rch-lightning",
    ],
)
def test_slips_are(name: str) -> None:
    assert imitation_of(name)


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [("a", "a", 0), ("ab", "ba", 1), ("abc", "ab", 1), ("abc", "xyz", 3), ("ab", "abcdef", 3)],
)
def test_distance_counts_up_to_a_bound(left: str, right: str, expected: int) -> None:
    assert distance(left, right, 2) == min(expected, 3)


CUT = {"requirements.txt": REQUIREMENTS[3][0] + "\n" + REQUIREMENTS[7][0], "conda.yaml": CONDA, "python_env.yaml": PYTHON_ENV, "pyproject.toml": PYPROJECT, "METADATA": METADATA}  # fmt: skip


@pytest.mark.parametrize(("name", "text"), CUT.items(), ids=CUT)
def test_files_cut_anywhere_get_a_verdict(name: str, text: str) -> None:
    for length in range(0, len(text), 3):
        assert report_of(text[:length].encode(), name).outcome in set(Outcome)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 200_000,
        "a: " * 100_000,
        "- " * 100_000,
        "&a [*a]",
        "{" * 100_000,
        "x: &a [&b [&c [1]]]\ny: [*a, *b, *c]\n",
        "!!python/object/apply:os.system ['true']",
    ],
)
@pytest.mark.timeout(20)
def test_hostile_environments_get_a_verdict_and_make_nothing(text: str) -> None:
    assert report_of(text.encode(), "conda.yaml").outcome in set(Outcome)


@pytest.mark.parametrize("text", ["a = " + "[" * 100_000, "[a" + ".a" * 50_000 + "]", "a = " + "{a=" * 50_000])
@pytest.mark.timeout(20)
def test_hostile_projects_get_a_verdict(text: str) -> None:
    assert report_of(text.encode(), "pyproject.toml").outcome in set(Outcome)
