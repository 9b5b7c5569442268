"""What a text of rules may hold before Cedar is given it: Cedar walks nested conditions by recursion, and ends the process where
the stack ends. Conditions that people write are far from these bounds.

Cost: linear in the text; no recursion.

Source: the tokens of Cedar's grammar, `cedar-policy-core/src/parser/grammar.lalrpop` (strings, comments).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from fastness.core.errors import Invalid

MOST_BYTES: Final = 1 << 19
MOST_RULES: Final = 2_000
MOST_DEEP: Final = 32
MOST_JOINED: Final = 200
_TOKEN = re.compile(
    r"""(?P<skip>"(?:[^"\\]|\\.)*"|//[^\n\r]*)|(?P<open>[(\[{])|(?P<close>[)\]}])|(?P<end>;)"""
    r"""|(?P<join>&&|\|\||[-+*!.<>=]|\b(?:if|has|like|in|is)\b)"""
)


def require_bounded(texts: Mapping[str, str]) -> None:
    """Return if Cedar can be given these texts.

    Raises:
        Invalid: `policies-large`: they are too long, too many, or nested too deep; the message names the file.
    """
    size, rules = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts.values()), 0
    if size > MOST_BYTES:
        raise _large(f"the rules have {size} bytes, and {MOST_BYTES} at most are read")
    for file, text in texts.items():
        rules += _counted(file, text)
        if rules > MOST_RULES:
            raise _large(f"there are more than {MOST_RULES} rules")


def _counted(file: str, text: str) -> int:
    """How many rules a text holds."""
    rules, depth, joined = 0, 0, 0
    for token in _TOKEN.finditer(text):
        match token.lastgroup:
            case "open":
                depth += 1
            case "close":
                depth = max(0, depth - 1)
            case "join":
                joined += 1
            case "end":
                rules, joined = rules + 1, 0
        if depth > MOST_DEEP:
            raise _large(f"{file}: rule {rules + 1} has more than {MOST_DEEP} brackets within each other")
        if joined > MOST_JOINED:
            raise _large(f"{file}: the condition of rule {rules + 1} has more than {MOST_JOINED} parts")
    return rules + 1


def _large(message: str) -> Invalid:
    return Invalid("policies-large", message, "Write several rules, or fewer.")
