"""From a pushed artifact to a served revision, and back.

`views` holds what people and programs are shown: `model_views`, `version_views`, `version_view`, `history_view`,
`approval_subject`.
"""

from fastness.models.release import views
from fastness.models.release.admission import admit
from fastness.models.release.card import PushRequest
from fastness.models.release.deployment import approve, deploy, quarantine, rollback
from fastness.models.release.granting import allowances, grant_allowance
from fastness.models.release.parts import ReleaseParts, ReleaseSettings
from fastness.models.release.projection import RoutesProjection
from fastness.models.release.routes import Route, Routes
from fastness.models.release.verification import verify_version

__all__ = [
    "PushRequest",
    "ReleaseParts",
    "ReleaseSettings",
    "Route",
    "Routes",
    "RoutesProjection",
    "admit",
    "allowances",
    "approve",
    "deploy",
    "grant_allowance",
    "quarantine",
    "rollback",
    "verify_version",
    "views",
]
