"""Commands of a shell, wherever they are written: those that run what they fetch, hide what they run, or give the machine away.

Texts are searched, never parsed: a command that is put together from variables is missed. Cost: linear.
"""

from __future__ import annotations

import re

from fastness.core.findings import Finding, Rule, Severity
from fastness.models.scan.facts import found
from fastness.models.scan.rules import MAPS

FETCHES = Rule(
    "shell-runs-what-it-fetches", "A script that runs what it fetches or hides", Severity.HIGH,
    "Whoever runs the script runs what somebody else puts at the other end, with their own rights.",
    "Do not run it. Loading the model needs no script.", {**MAPS, "cwe": "CWE-494", "atlas": "AML.T0011.000"},
)  # fmt: skip

_MOST = 4 << 20
_FETCH = r"(?:curl|wget|fetch|iwr|irm|invoke-webrequest|invoke-restmethod|certutil|bitsadmin|downloadstring|lwp-download|aria2c)"
_SUDO = r"(?:sudo\s+(?:-\S+\s+)*)?(?:env\s+(?:\w+=\S*\s+)*)?"
_SHELL = r"(?:\S*/)?(?:ba|z|da|k|c|tc|fi|a)?sh\b"
_PROGRAM = r"(?:\S*/)?(?:python[\d.]*|perl|ruby|node|iex|php|pwsh|powershell|deno|bun|lua|osascript)\b"
_DECODE = (
    r"(?:base64\s+(?:-\w*[dD]\w*|--decode)|xxd\s+-r|openssl\s+(?:enc|base64)\s+-d|uudecode|(?:g?unzip|zcat|gzip\s+-d))"
)
_SECRETS = r"(?:\$\(\s*(?:env|printenv|cat|whoami|id|hostname)\b|`\s*(?:env|printenv|cat|whoami|id|hostname)\b|[~\w/}]*/\.(?:ssh|aws|gnupg|kube|netrc)|/etc/(?:passwd|shadow)|/proc/self/environ)"
_PATTERNS = (
    _FETCH + r"\b[^\n;&]{0,400}\|\s*" + _SUDO + _SHELL,
    _FETCH + r"\b[^\n]{0,400}\|\s*" + _SUDO + _PROGRAM,
    r"\bsh\s+-\w*c\s+[\"']?\$\(\s*" + _FETCH + r"|\bsh\s+-\w*c\s+[\"']?`\s*" + _FETCH + r"|(?:\bsh|\bsource|^\s*\.)\s+<\(\s*" + _FETCH,
    r"\beval\s+[\"']?(?:\$\(|`)\s*" + _FETCH + r"|<<<\s*[\"']?\$\(\s*" + _FETCH,
    _DECODE + r"[^\n]{0,120}\|\s*" + _SUDO + r"(?:" + _SHELL + r"|" + _PROGRAM + r")",
    r"\beval\s+[\"']?(?:\$\(|`)[^\n]{0,200}" + _DECODE,
    r"\|\s*iex\b|\biex\s*[(\"'$]|/dev/(?:tcp|udp)/\w",
    r"\b(?:nc|ncat|netcat)\b[^\n|;]{0,60}\s-\w*[ec]\b|\bmkfifo\b[^\n]{0,200}\b(?:nc|ncat|netcat|openssl)\b|\bsocat\b[^\n]{0,200}\bexec:",
    r"(?:powershell|pwsh)\S*\s[^\n]{0,80}-enc?(?:odedcommand)?\s+[A-Za-z0-9+/=]{40,}|\s-enc(?:odedcommand)?\s+[A-Za-z0-9+/=]{40,}",
    r"\bpython[\d.]*\s+(?:-\w+\s+)*-c\s+.{0,400}(?:\bexec\s*\(|b64decode|\bsocket\b|pty\.spawn|__import__\s*\(|urlopen\([^\n]{0,200}exec|os\.system\s*\(\s*\\?[\"'](?:curl|wget|nc|bash|sh)\b)",
    r"\bnode\s+(?:-e|--eval|-p)\s+.{0,400}(?:child_process|\beval\s*\(|Function\s*\(|require\(\\?[\"'](?:https?|net)\b)",
    r"\b(?:perl|ruby|php)\s+-[er]\w*\s+.{0,300}(?:socket|TCPSocket|fsockopen|IO::Socket)",
    r"\b(?:curl|wget|nc|ncat)\b[^\n]{0,200}" + _SECRETS,
    _SECRETS + r"[^\n]{0,120}\|\s*(?:curl|wget|nc|ncat)\b",
    r">>\s*[~\w$/{}]*/\.ssh/authorized_keys|\brm\s+-[rRf]{1,3}\s+(?:--no-preserve-root\s+)?(?:/|~|\$HOME)(?:\s|\*|$)",
)  # fmt: skip
_DANGEROUS = re.compile("|".join(f"(?:{one})" for one in _PATTERNS), re.IGNORECASE | re.MULTILINE)
_MENTION = re.compile(
    r"curl|wget|fetch|iwr|irm|invoke-|certutil|bitsadmin|download|aria2c|base64|xxd|openssl|uudecode|zip|zcat|iex|/dev/(?:tcp|udp)|\bn(?:c|cat|etcat)\b"
    r"|mkfifo|socat|-enc|python|node|perl|ruby|php|authorized_keys|\brm\s",
    re.IGNORECASE,
)
_TWO_STEPS = re.compile(
    r"\b(?:curl|wget)\b[^\n]{0,400}?(?:-o|-O|--output|--output-document|>)[ =]?\s*[\"']?(?P<file>[\w./$~{}-]{2,100})[\s\S]{0,400}?"
    r"(?:\b(?:ba|z|da)?sh|\bpython[\d.]*|\bsource)\s+(?:-\w+\s+)*[\"']?(?P=file)\b",
    re.IGNORECASE,
)
_COMMENT = re.compile(r"^[ \t]*(?:#|//|rem\b)[^\n]*", re.IGNORECASE | re.MULTILINE)
_CONTINUED = re.compile(r"(?:\\|\^|`)[ \t]*\r?\n[ \t]*")


def dangerous_command(text: str) -> str:
    """What a text says that no honest command does; empty for nothing. Comments are left out, lines that go on joined."""
    text = text[:_MOST]
    if not _MENTION.search(text):
        return ""
    match = _DANGEROUS.search(_CONTINUED.sub(" ", _COMMENT.sub("", text)))
    return match[0].strip() if match else ""


def fetches_a_program(text: str) -> str:
    """What a text says that fetches a file and runs it in a second step; empty for nothing."""
    match = _TWO_STEPS.search(_COMMENT.sub("", text[:_MOST])) if "curl" in text or "wget" in text else None
    return match[0].strip() if match else ""


def told_of(source: str, text: str) -> list[Finding]:
    """The finding about a text that holds commands, if there is one."""
    said = dangerous_command(text)
    return [found(FETCHES, source, 0, f"it holds {said[:80]!a}")] if said else []
