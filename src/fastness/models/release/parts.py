"""What a release works with, and how its environments are set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fastness.core.clock import Clock, Entropy
from fastness.core.errors import NotFound
from fastness.core.settings import InvalidSetting
from fastness.foundation.crypto import KeyRing, Purpose
from fastness.foundation.ledger import Ledger
from fastness.foundation.storage import Records
from fastness.foundation.vault import Vault
from fastness.guard import GuardSettings
from fastness.models.assess import AssessSettings
from fastness.models.runtime import ModelHost
from fastness.models.scan import Scanner, ScanSettings

ENVIRONMENTS = ("development", "production")


@dataclass(frozen=True)
class EnvironmentPolicy:
    """What a version needs to be put into an environment.

    Attributes:
        security, privacy, performance: lowest score of each area, in [0, 1].
        approvals: persons who must have said yes, the author not counted; at least 1.
        allowances: whether signed allowances may stand in for checks that were not run.
    """

    security: float = 0.8
    privacy: float = 0.85
    performance: float = 0.75
    approvals: int = 2
    allowances: bool = True

    def __post_init__(self) -> None:
        for name, value in self.thresholds.items():
            if not 0 <= value <= 1:
                raise InvalidSetting(name, "lies in [0, 1]")
        if self.approvals < 1:
            raise InvalidSetting("approvals", "is at least 1: nothing is deployed on one person's word")

    @property
    def thresholds(self) -> dict[str, float]:
        """The lowest score by area."""
        return {"security": self.security, "privacy": self.privacy, "performance": self.performance}


@dataclass(frozen=True)
class ReleaseSettings:
    """Settings of admission and release.

    Attributes:
        serving: the environment that the gateway serves.
        guard: the stages that a revision runs behind.
        assess: how much is tried in an assessment, and what is good enough.
    """

    serving: str = "production"
    development: EnvironmentPolicy = field(default_factory=EnvironmentPolicy)
    production: EnvironmentPolicy = field(default_factory=EnvironmentPolicy)
    guard: GuardSettings = field(default_factory=GuardSettings)
    assess: AssessSettings = field(default_factory=AssessSettings)

    def __post_init__(self) -> None:
        if self.serving not in ENVIRONMENTS:
            raise InvalidSetting("serving", f"is one of {', '.join(ENVIRONMENTS)}")

    def environment(self, name: str) -> EnvironmentPolicy:
        """The policy of an environment.

        Raises:
            NotFound: there is no such environment.
        """
        policies = {"development": self.development, "production": self.production}
        if name not in policies:
            raise NotFound("environment-unknown", f"there is no environment {name!r}", f"Use {' or '.join(policies)}.")
        return policies[name]


@dataclass(frozen=True)
class ReleaseParts:
    """What a release works with.

    Attributes:
        sockets: folder of the workers' sockets.
        scan: the bounds of a scan.
        scanner: reads artifacts in processes of their own.
    """

    records: Records
    vault: Vault
    host: ModelHost
    keyring: KeyRing
    ledger: Ledger
    clock: Clock
    entropy: Entropy
    sockets: Path
    settings: ReleaseSettings = field(default_factory=ReleaseSettings)
    scan: ScanSettings = field(default_factory=ScanSettings)
    scanner: Scanner = field(default_factory=Scanner)

    @property
    def attesting(self) -> Mapping[str, bytes]:
        """Key id to PEM of the house's key for statements about versions."""
        signer = self.keyring.signer(Purpose.ATTEST)
        return {signer.keyid: signer.public_pem}

    @property
    def pointing(self) -> Mapping[str, bytes]:
        """Key id to PEM of the house's key for aliases."""
        signer = self.keyring.signer(Purpose.ALIAS)
        return {signer.keyid: signer.public_pem}
