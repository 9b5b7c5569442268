"""The SQL of SCIM: every statement on its tables, all in the tenant of the scope."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import insert, select, update

from fastness.access.scim.tables import SCIM_GROUP, SCIM_USER
from fastness.access.sealing.records import change, genuine, put
from fastness.core.clock import Instant
from fastness.core.identity import PrincipalId
from fastness.foundation.storage import Reading, Transaction


class UserRow(NamedTuple):
    """A provisioned user that was not deleted; `document` is JSON."""

    id: str
    principal: PrincipalId
    user_key: str
    external_id: str | None
    document: str
    version: int
    created_at: Instant
    changed_at: Instant


class GroupRow(NamedTuple):
    """What SCIM keeps of a group besides the group."""

    id: str
    external_id: str | None
    version: int
    created_at: Instant
    changed_at: Instant


def add_user(tx: Transaction, row: UserRow) -> None:
    """Write a user."""
    put(tx, SCIM_USER, row._asdict())


def find_users(reading: Reading, **equal: Any) -> list[UserRow]:
    """The users whose columns equal these values, in the order of their making; without any, all."""
    c = SCIM_USER.c
    query = select(SCIM_USER).where(c.tenant == reading.scope.tenant, c.deleted_at.is_(None))
    query = query.where(*(c[name] == value for name, value in equal.items())).order_by(c.created_at, c.id)
    found = genuine(reading, SCIM_USER, query)
    return [UserRow(*(getattr(row, name) for name in UserRow._fields)) for row in found]


def change_user(tx: Transaction, row: UserRow) -> int:
    """Write a user anew if it still has the version before; the number of rows changed."""
    c = SCIM_USER.c
    here = (c.tenant == tx.scope.tenant, c.id == row.id, c.version == row.version - 1, c.deleted_at.is_(None))
    return change(tx, SCIM_USER, here, row._asdict())


def delete_user(tx: Transaction, user: str) -> None:
    """Forget what was sent about a user; that there was one stays."""
    c = SCIM_USER.c
    values = {"deleted_at": tx.now, "document": "{}", "external_id": None, "user_key": ""}
    change(tx, SCIM_USER, (c.tenant == tx.scope.tenant, c.id == user), values)


def put_group(tx: Transaction, row: GroupRow) -> None:
    """Write what is kept of a group."""
    c = SCIM_GROUP.c
    changed = tx.execute(
        update(SCIM_GROUP).where(c.tenant == tx.scope.tenant, c.id == row.id).values(**row._asdict())
    ).count
    if not changed:
        tx.execute(insert(SCIM_GROUP).values(**row._asdict(), tenant=tx.scope.tenant))


def find_groups(reading: Reading, group: str | None = None) -> list[GroupRow]:
    """The provisioned groups, or the one."""
    c = SCIM_GROUP.c
    query = select(*(c[name] for name in GroupRow._fields)).where(c.tenant == reading.scope.tenant)
    if group is not None:
        query = query.where(c.id == group)
    return [GroupRow(*row) for row in reading.execute(query.order_by(c.created_at, c.id))]


def drop_group(tx: Transaction, group: str) -> None:
    """Forget a group."""
    c = SCIM_GROUP.c
    tx.execute(SCIM_GROUP.delete().where(c.tenant == tx.scope.tenant, c.id == group))
