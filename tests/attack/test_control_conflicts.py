"""Attack on `duties.conflicts = "refuse"` at the doors: both roles asked for in every way that has a route.

The ways below the doors are in `test_access_conflicts`. Success rate: 0.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from fastness.access.duties import DutySettings
from fastness.app import Home, load_settings, open_house
from fastness.core.errors import Conflict
from fastness.core.settings import InvalidSetting
from fastness.interfaces.api import create_api
from fastness.interfaces.cli.inprocess import InProcessTransport
from fastness.wire import control, directory
from tests.unit.interfaces.api.test_scim import USER
from tests.unit.interfaces.api.test_scim import ask as scim
from tests.unit.interfaces.api.town import Town, founded, refused, settings

GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"


@pytest.fixture(scope="module")
def town() -> Iterator[Town]:
    """A house that is opened again, to refuse from now on; `third` and `author` hold such roles from before."""
    with tempfile.TemporaryDirectory(prefix="fastness-conflicts-") as folder:
        home = Home(Path(folder) / "home")
        with founded(home.root) as before:
            pass
        strict = replace(settings(home), duties=DutySettings("refuse"))
        strict = replace(strict, scim=replace(strict.scim, group_roles=("Publishers=publisher",)))
        with (
            home.locked(),
            open_house(home, strict, None) as house,
            InProcessTransport(create_api(house)) as carrier,
        ):
            yield Town(house, carrier, before.keys, before.signers, before.seconds)


def conflict(act: object) -> Conflict:
    error = refused(act)
    assert isinstance(error, Conflict), error
    assert error.code == "roles-conflict"
    return error


def test_nobody_is_made_with_both(town: Town) -> None:
    wanted = control.PrincipalRequest("both", ("publisher", "approver"))
    error = conflict(lambda: town.client("admin").access.create_principal(wanted))
    assert "user:both would be publisher and approver" in error.message
    assert "duties.conflicts" in error.hint
    answer = town.ask("admin", "POST", "/api/v1/principals", msgspec.json.encode(wanted))
    assert (answer.status, answer.code) == (409, "roles-conflict")
    assert not [one for one in town.client("admin").access.principals() if one.principal == "user:both"]


def test_nobody_gets_the_other_half(town: Town) -> None:
    admin = town.client("admin")
    conflict(lambda: admin.access.set_roles("user:publisher", ("publisher", "operator")))
    group = admin.directory.create_group(directory.GroupRequest("Approvers", ("approver",))).group
    conflict(lambda: admin.directory.add_member(group, "user:publisher"))
    empty = admin.directory.create_group(directory.GroupRequest("Empty", ("viewer",))).group
    admin.directory.add_member(empty, "user:publisher")
    conflict(lambda: admin.directory.change_group(empty, directory.GroupRequest("Empty", ("operator",))))
    conflict(lambda: admin.directory.grant(directory.GrantRequest("user:publisher", "operator", "digits")))
    assert admin.directory.grants() == []
    found = town.client("auditor").policies.conflicts()
    assert {finding.where for finding in found} == {"principal:user:third", "principal:user:author"}


def test_nor_by_the_directory_service(town: Town) -> None:
    admin = town.client("admin")
    made = scim(town, "admin", "POST", "/Users", {"schemas": [USER], "userName": "jo"})
    user = str(made.problem["id"])
    admin.access.set_roles("user:jo", ("approver",))
    body = {"schemas": [GROUP], "displayName": "Publishers", "members": [{"value": user}]}
    answer = scim(town, "admin", "POST", "/Groups", body)
    assert answer.status == 409
    assert "publisher and approver" in str(answer.problem["detail"])
    assert scim(town, "admin", "POST", "/Groups", {**body, "members": []}).status == 201


def test_who_holds_both_keeps_them_and_gives_them_up_for_good(town: Town) -> None:
    admin = town.client("admin")
    admin.access.set_roles("user:third", ("approver", "operator", "viewer"))
    admin.access.set_roles("user:third", ("operator",))
    conflict(lambda: admin.access.set_roles("user:third", ("approver", "operator")))


def test_the_setting_is_one_of_two(tmp_path: Path) -> None:
    assert not load_settings(Home(tmp_path), {}).duties.refuses
    assert load_settings(Home(tmp_path), {"duties.conflicts": "refuse"}).duties.refuses
    with pytest.raises(InvalidSetting, match=r"duties\.conflicts"):
        load_settings(Home(tmp_path), {"duties.conflicts": "ignore"})
