"""Blocks, throttles and forced second factors, each with a reason and an end; kept by every worker."""

from fastness.access.restrictions.fence import Asking, Fence, Restrictions, RestrictionsProjection, barred
from fastness.access.restrictions.orders import (
    Kind,
    Measure,
    Order,
    Restriction,
    expire,
    find,
    history,
    impose,
    lift,
    standing,
)

__all__ = [
    "Asking",
    "Fence",
    "Kind",
    "Measure",
    "Order",
    "Restriction",
    "Restrictions",
    "RestrictionsProjection",
    "barred",
    "expire",
    "find",
    "history",
    "impose",
    "lift",
    "standing",
]
