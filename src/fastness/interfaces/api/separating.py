"""Separation of duties in one session: what a credential was used for bars it from the other half of a toxic pair.

The pairs stand in `access.duties`. Those about one model meet on its version; those about people, keys and rules meet wherever
they are done, since who makes approvers needs no particular model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from fastness.access.duties import ACTS, note, require_separate, unnote
from fastness.app import House
from fastness.core.clock import Instant
from fastness.core.events import Event, EventFactory
from fastness.core.identity import Action, Resource, Scope

_OF_MODELS = frozenset({Action.MODEL_PUSH, Action.MODEL_APPROVE, Action.MODEL_DEPLOY})
_LONGEST = 128
_LONGEST_SESSION = 64


class Noted(NamedTuple):
    """What a session is said to have done."""

    action: Action
    subject: str
    at: Instant


class Separation:
    """What the sessions of one house did.

    Args:
        house: whose records they are in.
    """

    def __init__(self, house: House) -> None:
        self._house = house

    def require(self, scope: Scope, session: str, action: Action, resource: Resource) -> None:
        """Return if nothing that was done in this session bars it from `action`.

        Raises:
            Forbidden: `duties-in-session`.
        """
        for subject in _subjects(action, resource) if session else ():
            with self._house.records.read(scope) as reading:
                require_separate(reading, session[:_LONGEST_SESSION], action, subject)

    def record(
        self, scope: Scope, session: str, act: tuple[Action, Resource], make: Callable[[EventFactory], Event]
    ) -> list[Noted]:
        """Record that an act was permitted, and that this session did it; what had not been noted before."""
        with self._house.records.begin(scope, self._house.clock.now()) as tx:
            tx.emit(make(tx.events))
            subjects = _subjects(*act) if session else ()
            return [
                Noted(act[0], subject, tx.now)
                for subject in subjects
                if note(tx, session[:_LONGEST_SESSION], act[0], subject)
            ]

    def forget(self, scope: Scope, session: str, noted: Sequence[Noted]) -> None:
        """Forget what was permitted and then refused, as a version that does not exist is: it was not done."""
        with self._house.records.begin(scope, self._house.clock.now()) as tx:
            for act in noted:
                unnote(tx, session[:_LONGEST_SESSION], act.action, act.subject, act.at)


def _subjects(action: Action, resource: Resource) -> Iterator[str]:
    for pair in ACTS:
        if action in {pair.one, pair.two}:
            of_models = {pair.one, pair.two} <= _OF_MODELS
            yield str(resource)[:_LONGEST] if of_models else f"{pair.one}+{pair.two}"
