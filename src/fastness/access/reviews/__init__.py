"""Access reviews and reports: campaigns over everything that gives rights, and what stands out between them.

`campaigns` starts, decides and closes reviews, `reports` tells who can do what and what nobody needs.
"""

from fastness.access.reviews import campaigns, reports
from fastness.access.reviews.campaigns import JOBS, Item, Review, handle
from fastness.access.reviews.reports import RULES

__all__ = ["JOBS", "RULES", "Item", "Review", "campaigns", "handle", "reports"]
