"""The first half of the story: what is pushed, refused, approved and deployed."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from fastness.interfaces.cli.demo.model import HIGHEST, INPUT
from fastness.interfaces.cli.demo.people import STEP_UP
from fastness.interfaces.cli.demo.scene import Scene
from fastness.interfaces.cli.demo.story import Differs, expect


def push_payload(scene: Scene) -> str:
    """The hidden call is found and named."""
    said = scene.people["author"].run("push", str(scene.model.payload), "digits")
    expect(said.status, 1, "exit status")
    findings = msgspec.convert(said.json()["findings"], list[dict[str, object]])
    worst = next((f for f in findings if f["severity"] == "critical"), None)
    if worst is None or not re.search(r"@\d+$", str(worst["where"])) or not worst["fix"]:
        raise Differs(f"no critical finding with the offset of an opcode and a fix: {findings}")
    return f"{worst['rule']} at {worst['where']}: {worst['message']} What to do: {worst['fix']}"


def push(scene: Scene, file: Path, number: int) -> str:
    """Scanned, assessed, encrypted, attested, registered."""
    before = set((scene.house / "blobs").rglob("*"))
    options = ("--range", f"{INPUT}=0:{HIGHEST}", "--probabilities", "probabilities")
    reply = scene.people["author"].must("push", str(file), "digits", *options)
    expect((reply["decision"], reply["version"]), ("allow", number), "outcome")
    scene.blobs[number] = next(p for p in set((scene.house / "blobs").rglob("*")) - before if p.is_file())
    return f"version {number}, {str(reply['digest'])[:23]}…"


def refused(scene: Scene, who: str, code: str, *arguments: str) -> str:
    """A command that must fail with one code."""
    said = scene.people[who].run(*arguments)
    if said.problem.get("code") == STEP_UP != code:
        said = scene.people[who].with_factor(*arguments)
    expect(said.problem.get("code"), code, "refusal")
    return f"refused: {said.problem['message']} ({code})"


def deploy_without_factor(scene: Scene) -> str:
    """A stolen key alone changes nothing that is hard to undo."""
    return refused(scene, "operator", STEP_UP, "models", "deploy", "digits", "1")


def deploy_early(scene: Scene) -> str:
    """Approvals are missing."""
    return refused(scene, "operator", "approvals-missing", "models", "deploy", "digits", "1")


def author_approves(scene: Scene) -> str:
    """Nobody approves their own."""
    said = scene.people["author"].run("models", "approve", "digits", "1")
    if not said.status:
        raise Differs("the author's approval was taken")
    return f"refused: {said.problem['message']} ({said.problem['code']})"


def approve(scene: Scene, who: str, number: int, count: int) -> str:
    """Signed in the approver's own process."""
    view = scene.people[who].must("models", "approve", "digits", str(number))
    approvals = msgspec.convert(view["approvals"], list[dict[str, object]])
    expect(sum(a["valid"] is True for a in approvals), count, "approvals that count")
    return f"{count} of 2"


def deploy_unassessed(scene: Scene) -> str:
    """A check that was not run counts as failed."""
    return refused(scene, "operator", "policy-denied", "models", "deploy", "digits", "1")


def allow(scene: Scene) -> str:
    """Signed by a security officer, shown wherever the version is shown."""
    view = scene.people["author"].must("models", "show", "digits", "1")
    measures = msgspec.convert(view["measures"], list[dict[str, object]])
    missing = [str(m["name"]) for m in measures if m["state"] == "not-run"]
    named = [word for name in missing for word in ("--measure", name)]
    reason = ("--reason", "first trial on one machine", "--days", "14")
    granted = scene.people["officer"].must("access", "allowance", "grant", "development", *named, *reason)
    return f"{', '.join(missing)} until {granted['expires_at']}"


def deploy(scene: Scene, number: int) -> str:
    """All verified again."""
    view = scene.people["operator"].must("models", "deploy", "digits", str(number))
    return f"revision {view['revision']}"


def deploy_production(scene: Scene) -> str:
    """No approvals and no allowance there."""
    said = scene.people["operator"].run("models", "deploy", "digits", "1", "--environment", "production")
    if not said.status:
        raise Differs("production took it")
    return f"refused: {said.problem['message']} ({said.problem['code']})"
