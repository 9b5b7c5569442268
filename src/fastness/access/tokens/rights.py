"""What a credential is narrowed to, and how a scope says it: actions by name, models as `model:NAME`.

A scope of `model.infer model:digits` permits one action on one model. One without any `model:` leaves the models open;
one without any action permits nothing. Rights only ever meet: there is no function that joins two of them.

Source: RFC 6749, section 3.3.
"""

from __future__ import annotations

from dataclasses import dataclass

from fastness.core.digests import parse_name
from fastness.core.errors import Invalid
from fastness.core.identity import Action

_MODEL = "model:"
_LONGEST = 4096
_MOST_MODELS = 64
_ACTIONS = {action.value: action for action in Action}


@dataclass(frozen=True, slots=True)
class Rights:
    """Actions, and the models they are confined to; None leaves all models."""

    actions: frozenset[Action]
    models: frozenset[str] | None = None

    def within(self, other: Rights) -> bool:
        """Whether nothing here goes beyond `other`."""
        if not self.actions <= other.actions:
            return False
        return other.models is None or (self.models is not None and self.models <= other.models)

    def met(self, other: Rights) -> Rights:
        """What both permit."""
        if self.models is None or other.models is None:
            models = self.models if other.models is None else other.models
        else:
            models = self.models & other.models
        return Rights(self.actions & other.actions, models)

    def scope(self) -> str:
        """The scope that says this, sorted."""
        return " ".join([*sorted(self.actions), *sorted(f"{_MODEL}{model}" for model in self.models or ())])

    def empty(self) -> bool:
        """Whether nothing at all is permitted."""
        return not self.actions or (self.models is not None and not self.models)


def parse_scope(text: str) -> Rights:
    """The rights that a scope names.

    Raises:
        Invalid: `scope-invalid`: a word that is neither an action nor a model, a word given twice, or too much of it.
    """
    if len(text) > _LONGEST:
        raise Invalid("scope-invalid", f"a scope has at most {_LONGEST} characters")
    words = text.split(" ") if text else []
    if len(set(words)) != len(words):
        raise Invalid("scope-invalid", "a word stands twice in the scope")
    models = {_model(word) for word in words if word.startswith(_MODEL)}
    named = [word for word in words if not word.startswith(_MODEL)]
    unknown = [word for word in named if word not in _ACTIONS]
    if unknown or len(models) > _MOST_MODELS:
        raise Invalid(
            "scope-invalid",
            f"the scope names what there is not: {unknown[0][:40]!r}" if unknown else "the scope names too many models",
            "A scope holds actions, such as model.infer, and models, such as model:digits, with one space between.",
        )
    return Rights(frozenset(_ACTIONS[word] for word in named), frozenset(models) or None)


def _model(word: str) -> str:
    try:
        return parse_name(word.removeprefix(_MODEL))
    except Invalid as error:
        raise Invalid("scope-invalid", f"{word[:40]!r} names no model") from error


EVERYTHING = Rights(frozenset(Action))
