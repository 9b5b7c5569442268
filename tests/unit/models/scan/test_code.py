"""Code in models: what it reaches, when, and what follows."""

import pytest

from fastness.core.findings import Severity
from fastness.models.scan.checks.code import Code
from fastness.models.scan.checks.urls import Urls, is_inside
from fastness.models.scan.facts import Fact, FactKind, Facts
from fastness.models.scan.python_code import reach_of

REACHES = {
    # source: reached at import, reached in calls
    "a call": ("import os\nos.system('x')", ["os.system"], []),
    "by another name": ("import os as q\nq.popen('x')", ["os.popen"], []),
    "from": ("from subprocess import Popen as P\nP(['x'])", ["subprocess.Popen"], []),
    "star": ("from subprocess import *\nrun('x')", ["subprocess.*"], []),
    "assigned": ("import os\nf = os.system\nf('x')", ["os.system"], []),
    "builtin": ("exec('x')", ["builtins.exec"], []),
    "builtin by another name": ("e = eval\ne('x')", ["builtins.eval"], []),
    "__import__": ("__import__('os').system('x')", ["os.system", "builtins.__import__"], []),
    "import_module": ("import importlib\nimportlib.import_module('pty').spawn('x')", ["pty.spawn", "importlib.import_module"], []),
    "attributes that lead anywhere": ("print.__self__\n().__class__.__base__.__subclasses__()", ["__subclasses__"], []),
    "a hidden attribute as text": ("getattr(f, '__globals__')", ["__globals__"], []),
    "in a function": ("import os\ndef f():\n    os.system('x')", [], ["os.system"]),
    "in a method": ("import os\nclass A:\n    def f(self):\n        os.system('x')", [], ["os.system"]),
    "in a class body": ("import os\nclass A:\n    os.system('x')", ["os.system"], []),
    "as a decorator": ("import os\n@os.system\ndef f(): ...", ["os.system"], []),
    "as a default": ("import os\ndef f(a=os.system('x')): ...", ["os.system"], []),
    "in a lambda": ("import os\nf = lambda: os.system('x')", [], ["os.system"]),
    "as a program": ("import os\nif __name__ == '__main__':\n    os.system('x')", [], ["os.system"]),
    "in the else of a program": ("import os\nif __name__ == '__main__':\n    pass\nelse:\n    os.system('x')", ["os.system"], []),
    "an annotation": ("import subprocess\ndef f(p: subprocess.Popen) -> subprocess.Popen: ...", [], []),
    "an error": ("import subprocess\ntry:\n    pass\nexcept subprocess.CalledProcessError:\n    pass", [], []),
    "harmless": ("import os, re, torch\nre.compile('x')\nmodel.eval()\nos.path.join('a')\nos.environ.get('b')", [], []),
    "pickle, only written": ("import pickle\npickle.dump(1, f)", [], []),
    "pickle, read": ("import pickle\ndef f(p):\n    return pickle.load(p)", [], ["pickle.load"]),
}  # fmt: skip


@pytest.mark.parametrize(("text", "now", "later"), REACHES.values(), ids=REACHES)
def test_names_are_followed(text: str, now: list[str], later: list[str]) -> None:
    reach = reach_of(text)
    assert (list(reach.at_import), list(reach.in_calls), reach.problem) == (now, later, "")


@pytest.mark.parametrize(
    "text",
    [
        "(" * 10_000,
        "-" * 200_000 + "1",
        "a" + ".b" * 100_000,
        "\0",
        "def",
        "\ud800",
        "x" * (3 << 20),
        "x=1\n" * 200_000,
    ],
)
def test_source_that_cannot_be_parsed_is_a_problem(text: str) -> None:
    assert reach_of(text).problem or not reach_of(text).at_import


def judged(**detail: str) -> Severity:
    (finding,) = Code().check(Facts([Fact(FactKind.CODE, "m", 0, "a part", {"language": "Python", **detail})]))
    return finding.severity


JUDGED = {
    "unknown code, run by loading": ({"runs": "load"}, Severity.MEDIUM),
    "unknown code, run on demand": ({"runs": "use"}, Severity.MEDIUM),
    "an example": ({"runs": "never"}, Severity.LOW),
    "nobody said when": ({}, Severity.MEDIUM),
    "dangerous at import": ({"runs": "use", "reaches": "os.system"}, Severity.HIGH),
    "dangerous in a function, on demand": ({"runs": "use", "reaches": "os.system", "when": "call"}, Severity.MEDIUM),
    "dangerous in a function, run by loading": (
        {"runs": "load", "reaches": "os.system", "when": "call"},
        Severity.HIGH,
    ),
    "reads in a function, run by loading": (
        {"runs": "load", "reaches": "pickle.load", "when": "call"},
        Severity.MEDIUM,
    ),
    "an example that is dangerous to import": ({"runs": "never", "reaches": "os.system"}, Severity.MEDIUM),
    "source": ({"runs": "load", "text": "import os\nos.system('x')"}, Severity.HIGH),
    "harmless source": ({"runs": "load", "text": "def f(x): return x + 1"}, Severity.MEDIUM),
}


@pytest.mark.parametrize(("detail", "severity"), JUDGED.values(), ids=JUDGED)
def test_code_is_judged_by_when_it_runs_and_what_it_reaches(detail: dict[str, str], severity: Severity) -> None:
    assert judged(**detail) is severity


INSIDE = """http://169.254.169.254/latest http://2130706433/ http://0x7f.1/ http://017700000001/ http://[::1]/ http://localhost:80
http://127.1 http://[::ffff:169.254.169.254]/ http://10.0.0.1.nip.io http://a@127.0.0.1/ http://metadata.google.internal/
http://192.168.1.1/x gopher://example.com/ file:///etc/passwd FILE:/x jar:http://a //no/scheme data:text/plain,x http://[bad
http://%6c%6fcalhost/ http://example.com\\@127.0.0.1/ http://100.64.0.1/ ldap://example.com/x http://box.local/ ftp:///x""".split()  # noqa: SIM905
PUBLIC = """https://example.com/a https://huggingface.co/x/resolve/main/y s3://bucket/key https://8.8.8.8/ gs://models/x
http://localhost.example.com/ https://example.com/?u=127.0.0.1""".split()  # noqa: SIM905


@pytest.mark.parametrize("url", INSIDE)
def test_addresses_inside_block(url: str) -> None:
    assert is_inside(url)


@pytest.mark.parametrize("url", PUBLIC)
def test_public_addresses_are_for_review(url: str) -> None:
    assert not is_inside(url)


@pytest.mark.parametrize(("runs", "url", "severities"), [
    ("load", "https://example.com/a", [Severity.MEDIUM]),
    ("use", "https://example.com/a", [Severity.MEDIUM]),
    ("never", "file:///etc/passwd", []),
    ("load", "file:///etc/passwd", [Severity.HIGH]),
])  # fmt: skip
def test_addresses_are_judged_by_when_they_are_asked(runs: str, url: str, severities: list[Severity]) -> None:
    facts = Facts([Fact(FactKind.URL, "m", 0, url, {"runs": runs})])
    assert [finding.severity for finding in Urls().check(facts)] == severities


def test_a_password_in_an_address_is_not_shown() -> None:
    fact = Fact(FactKind.URL, "m", 0, "https://user:hunter2@example.com/?token=hunter3", {"runs": "load"})
    (finding,) = Urls().check(Facts([fact]))
    assert "hunter" not in f"{finding}"
