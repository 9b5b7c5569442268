"""`fastness doctor`: does what this house promises hold on this machine, and is everything stored whole?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from fastness.access import integrity
from fastness.app.house import LOG, House
from fastness.core.errors import Corrupt, FastnessError
from fastness.core.events import Detail, EventKind
from fastness.core.identity import SYSTEM_SCOPE
from fastness.foundation.sandbox import Sandbox, SandboxSettings

State = Literal["ok", "repaired", "weak", "failed"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at.

    Attributes:
        state: weak is a layer that is missing but not required.
        seen: what was found.
        hint: what to do, where something is to be done.
    """

    name: str
    state: State
    seen: str
    hint: str = ""


def examine(settings: SandboxSettings, house: House | None, *, repair: bool, accept_rows: bool = False) -> list[Check]:
    """Attempt what the sandbox forbids; then, with a house, check records, blobs and log.

    Args:
        settings: which layers have to hold.
        house: opened under its lock, so that nobody else writes.
        repair: finish the log, mend its files, and remove what an interrupted push left behind.
        accept_rows: whoever asks has looked, and says that the rows of access stand as they should.
    """
    checks = list(_sandbox(settings))
    if house is not None:
        checks += [*_rows(house, accept=accept_rows), _log(house, repair=repair), *_blobs(house, repair=repair)]
    return checks


def _sandbox(settings: SandboxSettings) -> Iterator[Check]:
    try:
        layers = Sandbox.detect(settings).layers()
    except FastnessError as error:
        yield Check("sandbox", "failed", error.message, error.hint)
        return
    for layer in layers:
        state: State = "ok" if layer.holds else "failed" if layer.required else "weak"
        hint = "" if layer.holds else "Models are not served without it." if layer.required else "Not required here."
        yield Check(f"sandbox: {layer.layer}", state, layer.how, hint)


def _rows(house: House, *, accept: bool) -> Iterator[Check]:
    accepted = integrity.settle(house.records, house.clock.now()) if accept else 0
    with house.records.read(SYSTEM_SCOPE) as reading:
        found = integrity.findings(reading)
    rules = {rule.id: rule for rule in (integrity.FORGED, integrity.DOUBTFUL)}
    for finding in found:
        yield Check("rows of access", "failed", finding.message, rules[finding.rule].fix)
    if accepted:
        house.settle()
        yield Check("rows of access", "repaired", f"accepted as they stand: {accepted} sums were different")
    elif not found:
        yield Check("rows of access", "ok", "each row was written by this house, and none is missing")


def _log(house: House, *, repair: bool) -> Check:
    taken = 0
    try:
        if repair:
            while count := house.sequencer.run_once():
                taken += count
        size = _whole_log(house, repair=repair)
    except FastnessError as error:
        return Check("ledger", "failed", error.message, error.hint or "Restore the ledger folder from a copy.")
    if repair and house.mended is not None:
        return Check("ledger", "repaired", f"{house.mended.message}: written anew; {size} entries verify")
    if taken:
        return Check("ledger", "repaired", f"{taken} recorded events taken into the log; {size} entries verify")
    return Check("ledger", "ok", f"{size} entries verify against the signed checkpoint")


def _whole_log(house: House, *, repair: bool) -> int:
    """How many entries verify. Raises Corrupt, recorded."""
    try:
        return house.verify_log().size
    except Corrupt as error:
        house.record_damage(SYSTEM_SCOPE, LOG, error)
        if not repair:
            raise
        house.mend_log(error)
        return house.verify_log().size


def _blobs(house: House, *, repair: bool) -> Iterator[Check]:
    now = house.clock.now()
    with house.records.read(SYSTEM_SCOPE) as reading:
        missing = house.vault.missing(reading)
        # Whole containers that no row knows, and files of those that were never whole.
        orphans = len(house.vault.sweep(reading, now, older_than_s=0)) if repair else 0
    orphans += house.blobs.sweep_temporary(0, now) if repair else 0
    if orphans:
        swept: dict[str, Detail] = {"count": orphans}
        house.record(SYSTEM_SCOPE, lambda events: events.make(EventKind.BLOBS_SWEPT, "system:blobs", details=swept))
        house.settle()
    if missing:
        yield Check(
            "blobs", "failed", f"{len(missing)} recorded, but not there", "Restore the blobs folder from a copy."
        )
    elif orphans:
        yield Check("blobs", "repaired", f"{orphans} left by interrupted pushes removed")
    else:
        yield Check("blobs", "ok", "each recorded blob is there")
