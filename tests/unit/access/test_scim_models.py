"""What the SCIM service sends, read by an independent implementation of RFC 7643 and 7644 (scim2-models)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import scim2_models as models

from tests.unit.access.sealed import ENTERPRISE, GROUP, USER, SealedHouse
from tests.unit.access.test_scim import BABS


@pytest.fixture
def house() -> Iterator[SealedHouse]:
    made = SealedHouse()
    yield made
    made.records.close()


def read(model: Any, body: Any, context: str) -> Any:
    return model.model_validate(body, scim_ctx=models.Context[context])


def test_users_groups_and_lists_are_those_of_the_standard(house: SealedHouse) -> None:
    user_model, any_model = models.User[models.EnterpriseUser], models.User[models.EnterpriseUser] | models.Group
    made = house.scim("POST", "/Users", BABS)
    user = read(user_model, made.body, "RESOURCE_CREATION_RESPONSE")
    assert (user.user_name, user.active, user[models.EnterpriseUser].department) == (
        "bjensen@example.com",
        True,
        "Tour Operations",
    )
    group = house.scim(
        "POST", "/Groups", {"schemas": [GROUP], "displayName": "ML Operators", "members": [{"value": user.id}]}
    )
    assert read(models.Group, group.body, "RESOURCE_CREATION_RESPONSE").members[0].value == user.id
    found = read(user_model, house.scim("GET", f"/Users/{user.id}").body, "RESOURCE_QUERY_RESPONSE")
    assert found.groups[0].value == group.body["id"]  # type: ignore[index]
    for path in ("/Users", "/Groups"):
        listed = read(models.ListResponse[any_model], house.scim("GET", path).body, "RESOURCE_QUERY_RESPONSE")
        assert (listed.total_results, len(listed.resources)) == (1, 1)


def test_what_the_other_side_writes_is_understood(house: SealedHouse) -> None:
    user = models.User(
        user_name="erin", name=models.Name(given_name="Erin"), emails=[models.Email(value="e@x.example", type="work")]
    )
    sent = user.model_dump(scim_ctx=models.Context.RESOURCE_CREATION_REQUEST)
    made = house.scim("POST", "/Users", sent)
    assert made.status == 201
    operation = models.PatchOperation(op="replace", path="active", value=False)
    patch = models.PatchOp[models.User](operations=[operation])
    reply = house.scim(
        "PATCH", f"/Users/{made.body['id']}", patch.model_dump(scim_ctx=models.Context.RESOURCE_PATCH_REQUEST)
    )  # type: ignore[index]
    assert reply.status == 200
    assert read(models.User, reply.body, "RESOURCE_PATCH_RESPONSE").active is False


def test_the_description_of_the_service_is_that_of_the_standard(house: SealedHouse) -> None:
    read(models.ServiceProviderConfig, house.scim("GET", "/ServiceProviderConfig").body, "RESOURCE_QUERY_RESPONSE")
    for model, path in ((models.ResourceType, "/ResourceTypes"), (models.Schema, "/Schemas")):
        read(models.ListResponse[model], house.scim("GET", path).body, "RESOURCE_QUERY_RESPONSE")
    for urn, model in ((USER, models.User), (GROUP, models.Group), (ENTERPRISE, models.EnterpriseUser)):
        shown = read(models.Schema, house.scim("GET", f"/Schemas/{urn}").body, "RESOURCE_QUERY_RESPONSE")
        theirs = {attribute.name: attribute for attribute in model.to_schema().attributes}
        for ours in shown.attributes:
            other = theirs[ours.name]
            assert (ours.type, ours.multi_valued, ours.mutability) == (
                other.type,
                other.multi_valued,
                other.mutability,
            ), ours.name


def test_errors_are_those_of_the_standard(house: SealedHouse) -> None:
    for reply in (
        house.scim("GET", "/Users/none"),
        house.scim("GET", "/Users", filter="x"),
        house.scim("POST", "/Users", {}),
        house.patch("/Users/none", {"op": "remove", "path": "title"}),
    ):
        error = read(models.Error, reply.body, "DEFAULT")
        assert error.status == reply.status
