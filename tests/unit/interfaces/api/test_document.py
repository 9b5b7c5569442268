"""The OpenAPI document says what the control plane does: asked with many requests that follow it, and that break it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, given, seed, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from fastness.interfaces.api import create_api
from fastness.interfaces.api.document import MODULES
from fastness.wire import control
from tests.unit.interfaces.api.test_routes import OPEN, OWN, ROUTES
from tests.unit.interfaces.api.town import Town, founded

EXAMPLES = 10
DOCUMENT = "/api/v1/openapi.json"
# What these take has a meaning that no schema tells: a signature, a key, a note, the parts of an artifact.
MEANING = {
    "POST /certificates",
    "POST /signing-keys",
    "POST /enrolments",
    "POST /models/{model}/versions",
    "POST /models/{model}/versions/{version}/approvals",
    "POST /audit/verifications",
    "POST /environments/{environment}/allowances",
    "POST /factors/totp",
    "POST /factors/passkeys",
    "POST /factors/totp/{factor}/confirmation",
    "POST /approvals",
    "POST /keyring/{key}/rotation",
    "POST /clients",
    "POST /providers",
    "PUT /providers/{provider}",
    "PUT /clients/{client}/keys",
    "POST /policies",
    "POST /policies/tests",
    "GET /access/explanations",
    "POST /restrictions",
}
"""Operations that may refuse what the document allows."""


@pytest.fixture(scope="module")
def bare() -> Iterator[Town]:
    """A house with its people and no model."""
    with tempfile.TemporaryDirectory(prefix="fastness-document-") as folder, founded(Path(folder) / "home") as made:
        yield made


@pytest.fixture(scope="module")
def operations(bare: Town) -> dict[str, Any]:
    """Every operation of the document, by method and path."""
    headers = {"Authorization": f"Bearer {bare.keys['auditor']}"}
    schema = schemathesis.openapi.from_asgi(DOCUMENT, create_api(bare.house), headers=headers)
    return {found.ok().label.replace("/api/v1", ""): found.ok() for found in schema.get_all_operations()}


@pytest.mark.parametrize("who", ["admin", "viewer"])
@pytest.mark.parametrize("name", sorted(set(ROUTES) | set(OWN) | OPEN))
def test_an_operation_does_what_the_document_says(bare: Town, operations: dict[str, Any], name: str, who: str) -> None:
    operation = operations[name]
    conditional = any(
        parameter.name == "If-Match" for parameter in operation.headers
    )  # no tag that is made up is known
    left_out = [positive_data_acceptance] if name in MEANING or conditional else []

    @seed(0)
    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(case=operation.as_strategy())
    def conforms(case: Any) -> None:
        headers = {"Authorization": f"Bearer {bare.keys[who]}"} if name not in OPEN else {}
        case.call_and_validate(headers=headers, excluded_checks=left_out)

    conforms()


def test_each_operation_says_what_stands_before_it(bare: Town) -> None:
    document = msgspec.json.decode(bare.ask("viewer", "GET", DOCUMENT).body)
    assert document["openapi"].startswith("3.1")
    for path, item in document["paths"].items():
        for method, operation in item.items():
            assert operation["x-permission"], (path, method)
            assert operation["x-limit"]["per_s"] > 0
            assert operation["responses"]["default"]["content"].keys() == {"application/problem+json"}
            assert bool(operation["security"]) == (operation["x-proof"] == "credential")


def test_no_two_messages_have_one_name() -> None:
    """The document would describe neither: what they say of their fields would be lost."""
    names = [name for module in MODULES for name, found in vars(module).items() if _defined(found, module)]
    assert len(names) > 50
    assert len(set(names)) == len(names)


def _defined(found: object, module: object) -> bool:
    return (
        isinstance(found, type) and issubclass(found, control.Message) and found.__module__ == vars(module)["__name__"]
    )
