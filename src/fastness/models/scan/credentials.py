"""Credentials that travel with a model: what the recognisers of `foundation.text` find, by kind and place."""

from __future__ import annotations

from fastness.foundation.text import SHORTEST, first_secret, secrets_in

__all__ = ["SHORTEST", "credential_in", "credentials_within"]


def credential_in(text: str) -> str:
    """The kind of the first credential in `text`, or an empty text."""
    return first_secret(text) if len(text) >= SHORTEST else ""


def credentials_within(text: str) -> list[tuple[str, int]]:
    """Kind and place of each credential; the place is an index of `text`. Overlapping ones are told once."""
    return [(secret.kind, secret.start) for secret in secrets_in(text)]
