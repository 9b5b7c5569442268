"""Commands of a shell, wherever they are written: those that run what they fetch, hide what they run, or give the machine away.

Texts are searched, never parsed: a command that is put together from variables is missed, and so is one of which two parts
stand further apart than the patterns reach. Cost: linear, for no pattern reaches further than 400 characters at a time.
"""

from __future__ import annotations

import re
from bisect import bisect

from fastness.core.findings import Finding, Rule, Severity
from fastness.models.scan.facts import found
from fastness.models.scan.rules import MAPS

FETCHES = Rule(
    "shell-runs-what-it-fetches", "A script that runs what it fetches or hides", Severity.HIGH,
    "Whoever runs the script runs what somebody else puts at the other end, with their own rights.",
    "Do not run it. Loading the model needs no script.", {**MAPS, "cwe": "CWE-494", "atlas": "AML.T0011.000"},
)  # fmt: skip

_MOST = 16 << 20
_FETCH = r"(?:curl|wget|fetch|iwr|irm|invoke-webrequest|invoke-restmethod|certutil|bitsadmin|downloadstring|lwp-download|aria2c)"
_SUDO = r"(?:sudo\s{1,3}(?:-\S{1,60}\s{1,3}){0,6})?(?:env\s{1,3}(?:\w{1,60}=\S{0,120}\s{1,3}){0,6})?"
_SHELL = r"(?:\S{0,120}/)?(?:ba|z|da|k|c|tc|fi|a)?sh\b"
_PROGRAM = r"(?:\S{0,120}/)?(?:python[\d.]{0,8}|perl|ruby|node|iex|php|pwsh|powershell|deno|bun|lua|osascript)\b"
_DECODE = r"(?:base64\s{1,3}(?:-\w{0,40}[dD]\w{0,40}|--decode)|xxd\s{1,3}-r|openssl\s{1,3}(?:enc|base64)\s{1,3}-d|uudecode|(?:g?unzip|zcat|gzip\s{1,3}-d))"
_SECRETS = r"(?:\$\(\s{0,3}(?:env|printenv|cat|whoami|id|hostname)\b|`\s{0,3}(?:env|printenv|cat|whoami|id|hostname)\b|/\.(?:ssh|aws|gnupg|kube|netrc)|/etc/(?:passwd|shadow)|/proc/self/environ)"
_PATTERNS = (
    r"\bsh\s{1,3}-\w{0,40}c\s{1,3}[\"']?\$\(\s{0,3}" + _FETCH + r"|\bsh\s{1,3}-\w{0,40}c\s{1,3}[\"']?`\s{0,3}" + _FETCH + r"|(?:\bsh|\bsource|^[ ]?\.)\s{1,3}<\(\s{0,3}" + _FETCH,
    r"\beval\s{1,3}[\"']?(?:\$\(|`)\s{0,3}" + _FETCH + r"|<<<\s{0,3}[\"']?\$\(\s{0,3}" + _FETCH,
    r"\beval\s{1,3}[\"']?(?:\$\(|`)[^\n]{0,200}" + _DECODE,
    r"\|\s{0,3}iex\b|\biex\s{0,3}[(\"'$]|/dev/(?:tcp|udp)/\w",
    r"\b(?:nc|ncat|netcat)\b[^\n|;]{0,60}\s-\w{0,40}[ec]\b|\bmkfifo\b[^\n]{0,200}\b(?:nc|ncat|netcat|openssl)\b|\bsocat\b[^\n]{0,200}\bexec:",
    r"(?:powershell|pwsh)\S{0,60}\s[^\n]{0,80}-enc?(?:odedcommand)?\s{1,3}[A-Za-z0-9+/=]{40}|\s-enc(?:odedcommand)?\s{1,3}[A-Za-z0-9+/=]{40}",
    r"\bpython[\d.]{0,8}\s{1,3}(?:-\w{1,40}\s{1,3}){0,6}-c\s{1,3}.{0,400}(?:\bexec\s{0,3}\(|b64decode|\bsocket\b|pty\.spawn|__import__\s{0,3}\(|urlopen\([^\n]{0,200}exec|os\.system\s{0,3}\(\s{0,3}\\?[\"'](?:curl|wget|nc|bash|sh)\b)",
    r"\bnode\s{1,3}(?:-e|--eval|-p)\s{1,3}.{0,400}(?:child_process|\beval\s{0,3}\(|Function\s{0,3}\(|require\(\\?[\"'](?:https?|net)\b)",
    r"\b(?:perl|ruby|php)\s{1,3}-[er]\w{0,40}\s{1,3}.{0,300}(?:socket|TCPSocket|fsockopen|IO::Socket)",
    r"\b(?:curl|wget|nc|ncat)\b[^\n]{0,200}" + _SECRETS,
    _SECRETS + r"[^\n]{0,120}\|\s{0,3}(?:curl|wget|nc|ncat)\b",
    r">>\s{0,3}[~\w$/{}]{0,200}/\.ssh/authorized_keys|\brm\s{1,3}-[rRf]{1,3}\s{1,3}(?:--no-preserve-root\s{1,3})?(?:/|~|\$HOME)(?:\s|\*|$)",
)  # fmt: skip
_DANGEROUS = re.compile("|".join(f"(?:{one})" for one in _PATTERNS), re.IGNORECASE | re.MULTILINE)
_PIPED = re.compile(r"\|\s{0,3}" + _SUDO + r"(?:(?P<shell>" + _SHELL + r")|" + _PROGRAM + r")", re.IGNORECASE)
_FEEDS = re.compile(_FETCH + r"\b|(?P<decodes>" + _DECODE + r")", re.IGNORECASE)
_NEAR, _DECODED_NEAR = 400, 120
_MENTION = re.compile(
    r"curl|wget|fetch|iwr|irm|invoke-|certutil|bitsadmin|download|aria2c|base64|xxd|openssl|uudecode|zip|zcat|iex|/dev/(?:tcp|udp)|\bn(?:c|cat|etcat)\b"
    r"|mkfifo|socat|-enc|python|node|perl|ruby|php|authorized_keys|\brm\s",
    re.IGNORECASE,
)
_FETCHER = re.compile(r"\b(?:curl|wget)\b", re.IGNORECASE)
_INTO = re.compile(
    r"(?:(?<![\w-])-\w{0,12}o|--output(?:-document)?|>)[ =]?\s{0,3}[\"']?(?:\./)?([\w./$~{}-]{2,100})", re.IGNORECASE
)
_STARTS = re.compile(
    r"\b(?:(?:ba|z|da)?sh|python[\d.]{0,8}|source)(?=\s{1,3}(?:-\w{1,40}\s{1,3}){0,6}[\"']?(?:\./)?([\w./$~{}-]{2,100}))",
    re.IGNORECASE,
)
_COMMENT = re.compile(r"^[ \t]*(?:#|//|rem\b)[^\n]*", re.IGNORECASE | re.MULTILINE)
_CONTINUED = re.compile(r"(?:\\|\^|`)[ \t]*\r?\n[ \t]*")
_BLANKS = re.compile(r"[^\S\n]+")
_EMPTY_LINES = re.compile(r"\n(?: ?\n)+")


def dangerous_command(text: str) -> str:
    """What a text says that no honest command does; empty for nothing. Comments are left out, lines that go on joined."""
    text = text[:_MOST]
    if not _MENTION.search(text):
        return ""
    text = _plain(_CONTINUED.sub(" ", _COMMENT.sub("", text)))
    match = _DANGEROUS.search(text)
    return match[0].strip() if match else _piped(text)


def _piped(text: str) -> str:
    """What is fetched or decoded and handed to a shell or an interpreter; each pipe is held against what stands before it."""
    pipes = list(_PIPED.finditer(text))
    feeds = list(_FEEDS.finditer(text)) if pipes else []
    ends = [match.end() for match in feeds]
    for pipe in pipes:
        near = bisect(ends, pipe.start())
        for feed in reversed(feeds[max(0, near - 2) : near]):
            between = text[feed.end() : pipe.start()][: _NEAR + 1]
            reach = _DECODED_NEAR if feed["decodes"] else _NEAR
            parted = "\n" in between or (pipe["shell"] and not feed["decodes"] and not {";", "&"}.isdisjoint(between))
            if len(between) <= reach and not parted:
                return text[feed.start() : pipe.end()].strip()
    return ""


def _plain(text: str) -> str:
    """The text with one space for each run of blanks, so that no pattern needs to reach far."""
    return _EMPTY_LINES.sub("\n", _BLANKS.sub(" ", text))


def fetches_a_program(text: str) -> str:
    """What a text says that fetches a file and runs it in a second step; empty for nothing."""
    text = _plain(_COMMENT.sub("", text[:_MOST]))
    fetchers = [match.start() for match in _FETCHER.finditer(text)]
    started = list(_STARTS.finditer(text)) if fetchers else []
    places = [match.start() for match in started]
    for into in _INTO.finditer(text) if started else ():
        before = bisect(fetchers, into.start()) - 1
        if before < 0 or into.start() - fetchers[before] > _NEAR or "\n" in text[fetchers[before] : into.start()]:
            continue
        for match in started[bisect(places, into.end()) : bisect(places, into.end() + _NEAR)]:
            if match[1] == into[1]:
                return text[fetchers[before] : match.end(1)].strip()
    return ""


def told_of(source: str, text: str) -> list[Finding]:
    """The finding about a text that holds commands, if there is one."""
    said = dangerous_command(text)
    return [found(FETCHES, source, 0, f"it holds {said[:80]!a}")] if said else []
