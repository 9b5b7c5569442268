"""Quotas: set for keys, principals, tenants and models; met by requests; written down; told of by budgets.

On a `Transaction`: `set_quota`, `remove_quota`; on a `Reading`: `quotas`, `uses`. For the gateway: `QuotasProjection` loads the
`QuotaBook`, a `Planner` makes the `Plan` of a caller and model, whose `charges` any `SharedCounters` takes. Beside the
records: the `Accountant`.
"""

from fastness.access.quotas.accounting import Accountant
from fastness.access.quotas.plans import Asker, Plan, Planner, QuotaBook, QuotaSettings, QuotasProjection
from fastness.access.quotas.stored import quotas, remove_quota, set_quota, uses
from fastness.access.quotas.words import Kind, Quota, Shape, parse_quota

__all__ = [
    "Accountant",
    "Asker",
    "Kind",
    "Plan",
    "Planner",
    "Quota",
    "QuotaBook",
    "QuotaSettings",
    "QuotasProjection",
    "Shape",
    "parse_quota",
    "quotas",
    "remove_quota",
    "set_quota",
    "uses",
]
