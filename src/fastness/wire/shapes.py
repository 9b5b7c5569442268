"""How texts of the control plane must look, as the OpenAPI document says it.

The server checks them by the functions of the packages that own them, whose refusals say more than a schema can; these
annotations only describe. `tests/unit/interfaces/api/test_document.py` holds the two against each other.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from fastness.core.identity import Action, Role


def described(**schema: object) -> msgspec.Meta:
    """Adds to the JSON schema of a field, and checks nothing."""
    return msgspec.Meta(extra_json_schema=dict(schema))


_NAME = r"(?!.*\.\.)[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?"

Name = Annotated[str, described(pattern=f"^{_NAME}$", maxLength=64)]
PrincipalName = Annotated[str, described(pattern=f"^(user|service|agent):{_NAME}$", maxLength=80)]
EnrolledName = Annotated[str, described(pattern=f"^user:{_NAME}$", maxLength=80)]
ModelName = Annotated[str, described(pattern=f"^{_NAME}$", maxLength=64)]
GroupName = Annotated[str, described(pattern=r"^[!-~](?:[ -~]*[!-~])?$", minLength=1, maxLength=128)]
NetworkText = Annotated[str, described(description="an address or a network, such as 192.0.2.0/24")]
PrincipalKindName = Annotated[str, described(enum=["user", "service", "agent"])]
RoleName = Annotated[str, described(enum=[role.value for role in Role])]
MODEL_ROLES = tuple(
    role.value for role in Role if role not in {Role.ADMINISTRATOR, Role.SECURITY_OFFICER, Role.AUDITOR}
)
"""Roles that can be held on a single model."""
ModelRoleName = Annotated[str, described(enum=list(MODEL_ROLES))]
ActionName = Annotated[str, described(enum=[action.value for action in Action])]
Reason = Annotated[str, described(pattern=r"^[!-~][ -~]*$", minLength=1, maxLength=400)]
Label = Annotated[str, described(pattern=r"^[ -~]*$", maxLength=64)]
FactorLabel = Annotated[str, described(pattern=r"^[!-~][ -~]*$", minLength=1, maxLength=64)]
MethodName = Annotated[str, described(enum=["totp", "passkey", "recovery"])]
TenantName = Annotated[str, described(pattern=r"^[!-~]+$", minLength=1, maxLength=64)]
Password = Annotated[str, described(minLength=12, maxLength=256)]
EnvironmentName = Annotated[str, described(enum=["development", "production"])]
Days = Annotated[float, described(exclusiveMinimum=0, maximum=730)]
Rate = Annotated[float, described(exclusiveMinimum=0, maximum=10_000)]
Burst = Annotated[float, described(minimum=1, maximum=20_000)]
PolicyTexts = Annotated[dict[str, str], described(description="file name to Cedar text", maxProperties=100)]
Cases = Annotated[str, described(description="YAML or JSON; see docs/policies.md", maxLength=1 << 18)]
MeasureName = Annotated[str, described(enum=["block", "throttle", "step-up"])]
KindName = Annotated[str, described(enum=["principal", "key", "address", "tenant", "model", "action"])]
DigestText = Annotated[str, described(pattern="^sha256:[0-9a-f]{64}$", maxLength=71)]
Hours = Annotated[float, described(exclusiveMinimum=0, maximum=720)]
Minutes = Annotated[float, described(exclusiveMinimum=0, maximum=43_200)]
ThrottleRate = Annotated[float, described(minimum=0.1, maximum=10_000)]
ThrottleBurst = Annotated[float, described(minimum=1, maximum=20_000)]
ShapeName = Annotated[str, described(enum=["even", "fixed", "sliding"])]
Amount = Annotated[int, described(minimum=0, maximum=1 << 52)]
Percents = Annotated[tuple[int, ...], described(maxItems=8)]
