"""Separation of duties in one session: what a credential was used for bars it from the other half of a toxic pair.

The pairs stand in `access.duties`. Those about one model meet on its version; those about people, keys and rules meet wherever
they are done, since who makes approvers needs no particular model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from fastness.access.duties import ACTS, note, require_separate
from fastness.app import House
from fastness.core.events import Event, EventFactory
from fastness.core.identity import Action, Resource, Scope

_OF_MODELS = frozenset({Action.MODEL_PUSH, Action.MODEL_APPROVE, Action.MODEL_DEPLOY})
_LONGEST = 128
_LONGEST_SESSION = 64


def require_apart(house: House, scope: Scope, session: str, action: Action, resource: Resource) -> None:
    """Return if nothing that was done in this session bars it from `action`.

    Raises:
        Forbidden: `duties-in-session`.
    """
    for subject in _subjects(action, resource) if session else ():
        with house.records.read(scope) as reading:
            require_separate(reading, session[:_LONGEST_SESSION], action, subject)


def record_act(
    house: House, scope: Scope, session: str, act: tuple[Action, Resource], make: Callable[[EventFactory], Event]
) -> None:
    """Record that an act was permitted, and that this session did it."""
    with house.records.begin(scope, house.clock.now()) as tx:
        tx.emit(make(tx.events))
        for subject in _subjects(*act) if session else ():
            note(tx, session[:_LONGEST_SESSION], act[0], subject)


def _subjects(action: Action, resource: Resource) -> Iterator[str]:
    for pair in ACTS:
        if action in {pair.one, pair.two}:
            of_models = {pair.one, pair.two} <= _OF_MODELS
            yield str(resource)[:_LONGEST] if of_models else f"{pair.one}+{pair.two}"
