"""Recognise credentials that travel with a model: a handful of shapes that are hardly ever anything else."""

from __future__ import annotations

import re

SHORTEST = 20
"""No shape below is shorter."""

_KINDS: tuple[tuple[str, str], ...] = (
    ("private key", r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----"),
    ("AWS access key", r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    ("Hugging Face token", r"\bhf_[A-Za-z0-9]{30,}"),
    ("GitHub token", r"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{50,})"),
    ("GitLab token", r"\bglpat-[A-Za-z0-9_-]{20,}"),
    ("Google key", r"\bAIza[A-Za-z0-9_-]{35}"),
    ("Slack token", r"\bxox[abprs]-[A-Za-z0-9-]{20,}"),
    ("model provider key", r"\bsk-(?:proj-|ant-|live-)?[A-Za-z0-9_-]{32,}"),
)
_ANY = re.compile("|".join(f"({pattern})" for _, pattern in _KINDS))


def credential_in(text: str) -> str:
    """The kind of the first credential in `text`, or an empty text."""
    match = _ANY.search(text)
    return _KINDS[match.lastindex - 1][0] if match and match.lastindex else ""
