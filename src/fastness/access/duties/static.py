"""Static separation of duties: no transaction leaves roles in one hand that do not go together and were not there before.

A constraint of the records, and so for every way at once: whoever writes a row from which somebody has roles (a principal, its
roles, a group and who belongs to it, a role on a model) is looked at before, and at the end of the transaction. Transactions
run one after another, so of two that bring one half each the second is refused. Who holds such roles from before keeps them,
and can be given or lose others. Somebody who is not active holds nothing: they are looked at when they are taken back.

What has no row is looked at at once: acting for another by delegation, where one hand has the roles of both.

What it misses: one person with two accounts; and an API key or a token that somebody was handed, which no row tells of.
Cost: what a principal holds is read twice for each whose roles are written, some tenths of a millisecond; decisions pay nothing.

Source: Gligor, Gavrila, Ferraiolo, "On the Formal Definition of Separation-of-Duty Policies and their Composition", IEEE S&P
1998 (static separation of duty over the roles of a user, those by groups included).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NoReturn

from fastness.access import records
from fastness.access.duties.toxic import ToxicRoles, pairs_in
from fastness.access.records import PrincipalRow
from fastness.access.tables import GROUP, GROUP_MEMBER, MODEL_GRANT, PRINCIPAL, PRINCIPAL_ROLE
from fastness.core.errors import Conflict
from fastness.core.identity import Grant, PrincipalId, Role
from fastness.foundation.storage import Reading

DELEGATION: Final = "delegation"
"""Foreseen with `principals`: whom one hand acts as, with spaces between."""

_OWNERS: Final = {PRINCIPAL.name: "id"} | {
    table.name: "principal" for table in (PRINCIPAL_ROLE, GROUP_MEMBER, MODEL_GRANT)
}
_HINT: Final = (
    "An administrator takes one of the roles away or chooses another person; whoever keeps the settings of the house lifts this "
    'by duties.conflicts = "report".'
)
_Pairs = frozenset[tuple[ToxicRoles, str]]


class Separation:
    """Refuses with `roles-conflict` what would put two roles into one hand that do not go together."""

    def before(
        self, reading: Reading, kept: dict[str, frozenset[object]], what: str, values: Mapping[str, object]
    ) -> None:
        """Keep what they hold now whose roles are about to be written.

        Raises:
            Conflict: `roles-conflict`, of a delegation.
        """
        if what == DELEGATION:
            _require_apart(reading, str(values["principals"]).split())
            return
        people: Iterable[str] = ()
        if what in _OWNERS:
            people = (str(values[_OWNERS[what]]),)
        elif what == GROUP.name:
            people = (member.principal for member in records.find_members(reading, str(values["id"])))
        for person in people:
            if person not in kept:
                kept[person] = _pairs(reading, PrincipalId(person))

    def after(self, reading: Reading, kept: dict[str, frozenset[object]]) -> None:
        """Return if nobody holds a pair now that they did not hold before, there or everywhere.

        Raises:
            Conflict: `roles-conflict`.
        """
        for person, before in kept.items():
            for pair, model in sorted(_pairs(reading, PrincipalId(person)), key=_place):
                if not {(pair, model), (pair, "")} & before:
                    _refuse(f"{person} would be", pair, model)


def _pairs(reading: Reading, person: PrincipalId) -> _Pairs:
    row = records.find_principals(reading, person).get(person)
    return frozenset() if row is None or not row.active else frozenset(pairs_in(row.roles, row.grants))


def _require_apart(reading: Reading, principals: Iterable[str]) -> None:
    """Return if together they hold no pair that none of them holds alone."""
    people = [PrincipalId(one) for one in dict.fromkeys(principals)]
    rows = [row for one in people if (row := records.find_principals(reading, one).get(one)) is not None]
    alone = {found for row in rows for found in pairs_in(row.roles, row.grants)}
    for pair, model in sorted(pairs_in(_roles(rows), _grants(rows)), key=_place):
        if not {(pair, model), (pair, "")} & alone:
            _refuse("who acts for another would be", pair, model)


def _roles(rows: Iterable[PrincipalRow]) -> frozenset[Role]:
    return frozenset[Role]().union(*(row.roles for row in rows))


def _grants(rows: Iterable[PrincipalRow]) -> frozenset[Grant]:
    return frozenset[Grant]().union(*(row.grants for row in rows))


def _place(found: tuple[ToxicRoles, str]) -> tuple[str, str, str]:
    return found[1], found[0].one, found[0].two


def _refuse(who: str, pair: ToxicRoles, model: str) -> NoReturn:
    where = f" on {model}" if model else ""
    raise Conflict("roles-conflict", f"{who} {pair.one} and {pair.two}{where}: {pair.why}", _HINT)
