"""Who acts: words that policies and stored things rest on."""

from __future__ import annotations

import pytest

from fastness.core.clock import Instant
from fastness.core.identity import (
    DEFAULT_TENANT,
    SYSTEM,
    SYSTEM_SCOPE,
    Action,
    Principal,
    PrincipalKind,
    Resource,
    Role,
    Strength,
)


def test_a_resource_reads_as_kind_and_id() -> None:
    assert str(Resource("model", "digits")) == "model:digits"


def test_proofs_are_ordered_from_weak_to_strong() -> None:
    assert Strength.NONE < Strength.KEY < Strength.PASSWORD < Strength.SIGNED < Strength.MFA


def test_the_house_itself_acts_in_the_default_tenant() -> None:
    assert (SYSTEM_SCOPE.tenant, SYSTEM_SCOPE.principal) == (DEFAULT_TENANT, SYSTEM)


@pytest.mark.parametrize("words", [Action, Role, PrincipalKind])
def test_words_are_lower_case_and_given_once(words: type[Action | Role | PrincipalKind]) -> None:
    values = [word.value for word in words]
    assert all(value == value.lower() and " " not in value for value in values)
    assert len(set(values)) == len(values) == len(words.__members__)


def test_an_action_names_its_resource_kind_and_its_verb() -> None:
    assert all(len(action.value.split(".")) == 2 for action in Action)


def test_a_principal_cannot_be_promoted_in_place() -> None:
    someone = Principal(PrincipalKind.USER, SYSTEM, DEFAULT_TENANT, frozenset(), Strength.KEY, Instant(0))
    with pytest.raises(AttributeError, match="immutable"):
        someone.roles = frozenset({Role.ADMINISTRATOR})  # type: ignore[misc]
