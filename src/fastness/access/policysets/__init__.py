"""A tenant's own rules: written, tested, signed, approved, sealed, and taken by every worker as a whole.

`page` shows a set of rules, `explain` a single decision; module `findings` says what is wrong with rules, `cases` whether they decide
as cases say.
"""

from fastness.access.policysets import cases, findings
from fastness.access.policysets.documents import (
    SET_TYPE,
    PolicyDocument,
    PolicySet,
    Proposal,
    activate,
    draft,
    propose,
    sets,
)
from fastness.access.policysets.explain import explain
from fastness.access.policysets.page import page
from fastness.access.policysets.snapshot import PoliciesProjection, PolicyBook, PolicySnapshot

__all__ = [
    "SET_TYPE",
    "PoliciesProjection",
    "PolicyBook",
    "PolicyDocument",
    "PolicySet",
    "PolicySnapshot",
    "Proposal",
    "activate",
    "cases",
    "draft",
    "explain",
    "findings",
    "page",
    "propose",
    "sets",
]
