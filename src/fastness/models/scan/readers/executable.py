"""Programs and scripts that are files of their own: nothing in a model needs them, and whoever starts one is not asked.

The samples of hooks that git lays into every folder are code that nothing runs; what names one (a setting of git, a script
of a package) is told where it stands.

Source: see `programs`. Cost: the first 4096 bytes; the rest is not read, for no more is needed to refuse it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fastness.core.findings import Rule, Severity
from fastness.core.sources import RandomAccess
from fastness.models.scan.budget import Budget
from fastness.models.scan.commands import told_of
from fastness.models.scan.facts import HEAD, Fact, FactKind, Look, Told, found, span
from fastness.models.scan.payloads import executable
from fastness.models.scan.programs import Program, Sort, file_program
from fastness.models.scan.rules import MAPS
from fastness.models.scan.texts import NotText, whole

NOT_A_PROGRAM = Rule(
    "executable-name-only", "Named like a program, but none is recognised in it", Severity.MEDIUM,
    "Systems choose by the name how a file is started; what it then does was not read.",
    "Remove the file from the model, or read it.", {**MAPS, "cwe": "CWE-646"},
)  # fmt: skip

RULES: tuple[Rule, ...] = (NOT_A_PROGRAM,)

_SCRIPTS = {
    ".sh": "shell script", ".bash": "shell script", ".zsh": "shell script", ".fish": "shell script", ".command": "shell script",
    ".bat": "Windows command script", ".cmd": "Windows command script", ".ps1": "PowerShell script", ".psm1": "PowerShell script",
    ".vbs": "Windows script", ".wsf": "Windows script", ".hta": "Windows script", ".jse": "Windows script", ".vbe": "Windows script",
    ".desktop": "desktop entry", ".scpt": "AppleScript", ".applescript": "AppleScript", ".rb": "Ruby script", ".lua": "Lua script", ".jl": "Julia script",
    ".r": "R script", ".pl": "Perl script", ".php": "PHP script", ".tcl": "Tcl script", ".lnk": "Windows shortcut",
}  # fmt: skip
_NATIVE = (".exe", ".dll", ".so", ".dylib", ".scr", ".com", ".msi", ".sys", ".ko", ".pyd", ".a", ".lib")
_MANAGED = {".jar": "Java archive", ".war": "Java archive", ".apk": "Android package", ".pyc": "Python bytecode", ".class": "Java class",
            ".swf": "Flash program", ".docm": "Office document with macros", ".xlsm": "Office document with macros", ".pptm": "Office document with macros"}  # fmt: skip
_SAMPLE = re.compile(
    r"(?:^|[/\\!])\.git[/\\](?:modules[/\\](?:[^/\\!]+[/\\])+)?hooks[/\\](?:applypatch-msg|commit-msg|fsmonitor-watchman|post-update|pre-applypatch|pre-commit|pre-merge-commit"
    r"|pre-push|pre-rebase|pre-receive|prepare-commit-msg|push-to-checkout|sendemail-validate|update)\.sample\Z"
)
_SAMPLE_START = re.compile(r"#!\s?(?:/usr)?/bin/(?:env )?(?:ba|da)?(?:sh|perl)\s")
_LONGEST_SAMPLE = 1 << 16


@dataclass(frozen=True)
class ExecutableReader:
    """Reads nothing but what a file is."""

    name: ClassVar[str] = "executable"
    suffixes: ClassVar[tuple[str, ...]] = (*_SCRIPTS, *_NATIVE, *_MANAGED)

    def claims(self, look: Look) -> bool:
        """By a header whose fields agree, by the first line of a script, or by the name."""
        return file_program(look.head) is not None or look.named(*self.suffixes)

    def read(self, source: RandomAccess, budget: Budget) -> Iterator[Told]:
        """The one fact."""
        yield span(source.name, 0, source.size)
        if _SAMPLE.search(source.name) and source.size <= _LONGEST_SAMPLE:
            budget.require("header_bytes", source.size)
            if (told := _sample(source)) is not None:
                yield told
                return
        program = file_program(source.read_at(0, HEAD)) or _by_name(source.name.lower())
        if program is not None:
            yield executable(source.name, 0, program, embedded=False)
        elif source.name.lower().endswith(_NATIVE):
            yield found(NOT_A_PROGRAM, source.name, 0, "no header of a program stands in it")


def _sample(source: RandomAccess) -> Told | None:
    """A sample of a hook as git lays it into every folder, which it never runs; None where it is more than that."""
    try:
        text = whole(source)
    except NotText:
        return None
    if not _SAMPLE_START.match(text):
        return None
    said = next(iter(told_of(source.name, text)), None)
    return said or Fact(FactKind.CODE, source.name, 0, "a sample of a hook", {"language": "shell", "runs": "never"})


def _by_name(name: str) -> Program | None:
    for suffix, kind in _SCRIPTS.items():
        if name.endswith(suffix):
            return Program(kind, Sort.SCRIPT)
    return next((Program(kind, Sort.MANAGED) for suffix, kind in _MANAGED.items() if name.endswith(suffix)), None)


READER = ExecutableReader
