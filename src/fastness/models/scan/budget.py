"""What one scan may cost, counted in things and never in time, so that the same bytes always get the same verdict."""

from __future__ import annotations

from dataclasses import dataclass, fields

from fastness.core.errors import TooLarge
from fastness.core.settings import InvalidSetting
from fastness.models.scan.kept import Kept


@dataclass(frozen=True)
class ScanSettings:
    """The bounds of one scan. Size alone never meets one: payloads are stepped over, not read.

    Attributes:
        opcodes: pickle instructions, over all streams of a file.
        stack: values that a pickle may hold at once, the memo included.
        depth: how deep members may stand within members, and folders within folders.
        members: files within one file.
        inflated_bytes: bytes that decompression may produce, over all readings.
        header_bytes: the longest text header that is parsed.
        fields: protobuf fields walked.
        facts: different things one reading may report.

    Raises:
        InvalidSetting: a bound is below 1.
    """

    opcodes: int = 20_000_000
    stack: int = 2_000_000
    depth: int = 8
    members: int = 32_000
    inflated_bytes: int = 4 << 30
    header_bytes: int = 16 << 20
    fields: int = 20_000_000
    facts: int = 20_000

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) < 1:
                raise InvalidSetting(f"scan.{field.name}", "is at least 1")


class Budget:
    """What is left of the settings; one for each scanned file, shared by its readers and members.

    Attributes:
        kept: the decompressed bytes that are still in memory.
    """

    def __init__(self, settings: ScanSettings) -> None:
        self.settings = settings
        self.kept = Kept()
        self._left = {field.name: int(getattr(settings, field.name)) for field in fields(settings)}

    def spend(self, bound: str, amount: int = 1) -> None:
        """Take `amount` from what is left of `bound`.

        Raises:
            TooLarge: nothing is left; the code is `scan-budget`.
        """
        self._left[bound] -= amount
        if self._left[bound] < 0:
            raise self.exhausted(bound)

    def require(self, bound: str, amount: int) -> None:
        """Check a single thing against a bound without using it up.

        Raises:
            TooLarge: `amount` is above the bound; the code is `scan-budget`.
        """
        if amount > int(getattr(self.settings, bound)):
            raise self.exhausted(bound)

    def exhausted(self, bound: str) -> TooLarge:
        """The error that says which bound was met."""
        limit = int(getattr(self.settings, bound))
        return TooLarge(
            "scan-budget",
            f"the scan's bound of {limit} {bound.replace('_', ' ')} was met",
            f"Raise scan.{bound} if the file is known to be that large.",
        )
