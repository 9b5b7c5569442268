"""Who belongs to which house.

`tenants` are houses within the house, `groups` give roles to who belongs to them and roles on single models, `leaving` ends
somebody everywhere at once, `use` tells when who last used what.
"""

from fastness.access.directory import groups, leaving, tenants, use
from fastness.access.directory.groups import Group
from fastness.access.directory.tenants import Tenant

__all__ = ["Group", "Tenant", "groups", "leaving", "tenants", "use"]
