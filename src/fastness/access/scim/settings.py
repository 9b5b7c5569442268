"""Which groups of a directory service give which roles: the one way from it to rights, and it stands in the settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from fastness.core.identity import Role
from fastness.core.settings import InvalidSetting

_MOST = 200


@dataclass(frozen=True)
class ScimSettings:
    """Provisioning by a directory service, at `/scim/v2`.

    Attributes:
        group_roles: entries such as "Engineers=developer,viewer"; a group that is not named gives no role.
        base: the address that the directory service reaches, such as https://fastness.example/scim/v2; empty is the
            control plane's own.
    """

    group_roles: tuple[str, ...] = ()
    base: str = ""

    def __post_init__(self) -> None:
        if self.base and not self.base.startswith("https://"):
            raise InvalidSetting("scim.base", "begins with https://")
        self.roles()

    def roles(self) -> Mapping[str, frozenset[Role]]:
        """By the name of a group, the roles that it gives.

        Raises:
            InvalidSetting: an entry is none, names no role, or stands twice.
        """
        found: dict[str, frozenset[Role]] = {}
        for entry in self.group_roles:
            name, equal, named = entry.rpartition("=")
            roles = [text.strip() for text in named.split(",")]
            if not equal or not name.strip() or not set(roles) <= set(Role):
                raise InvalidSetting("scim.group_roles", f"{entry[:80]!r} is not GROUP=ROLE,ROLE")
            if name.strip().casefold() in {known.casefold() for known in found} or len(found) >= _MOST:
                raise InvalidSetting("scim.group_roles", f"names {name[:80]!r} twice, or more than {_MOST} groups")
            found[name.strip()] = frozenset(map(Role, roles))
        return MappingProxyType(found)
