"""The second half of the story: served from a sandbox, called by the SDK and by curl."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import msgspec

from fastness.client import Client
from fastness.interfaces.cli.demo.attacks import Target
from fastness.interfaces.cli.demo.model import INPUT
from fastness.interfaces.cli.demo.people import Person
from fastness.interfaces.cli.demo.scene import Scene
from fastness.interfaces.cli.demo.story import Differs, expect


def doctor(scene: Scene) -> str:
    """Each forbidden act is attempted."""
    said = scene.people["admin"].run("doctor")
    checks = msgspec.json.decode(said.out, type=list[dict[str, str]])
    expect([c["name"] for c in checks if c["state"] == "failed"], [], "failed checks")
    return f"{sum(c['state'] == 'ok' for c in checks)} of {len(checks)} hold"


def ready(scene: Scene) -> str:
    """Verified once more and loaded."""
    end = time.monotonic() + 30
    models: list[dict[str, object]] = []
    while time.monotonic() < end:
        view = scene.people["admin"].must("status")
        models = msgspec.convert(view["models"], list[dict[str, object]])
        if models and all(m["state"] == "serving" for m in models):
            return f"worker {models[0]['pid']}"
        time.sleep(0.1)
    raise Differs(f"not ready: {models}")


def accuracy(scene: Scene) -> str:
    """Every held-out digit, one call each."""
    scene.key = _key(scene, "held-out", rate=10000)
    model = scene.model
    with Client(scene.url, scene.key, scene.house / "tls" / "ca.pem") as client:
        seen = [int(client.infer("digits", {INPUT: row[None]}).outputs["label"][0]) for row in model.held_out]
    same = sum(a == b for a, b in zip(seen, model.predicted.tolist(), strict=True))
    expect(same, len(seen), "identical predictions")
    right = sum(a == b for a, b in zip(seen, model.labels.tolist(), strict=True)) / len(seen)
    return f"accuracy {right:.3f} through the gateway, {model.accuracy:.3f} locally; {same} of {len(seen)} identical"


def curl(scene: Scene, *, binary: bool) -> str:
    """Plain curl, with the house's certificate."""
    from fastness.wire import oip

    body, headers = oip.encode_request({INPUT: scene.model.held_out[:1]}, binary=binary)
    file = scene.root / "request"
    file.write_bytes(body)
    given = {**headers, "authorization": f"Bearer {scene.key}"}
    secret = scene.root / "curl-headers"  # not on the command line, which everybody can read
    secret.touch(mode=0o600)
    secret.write_text("".join(f"{name}: {value}\n" for name, value in given.items()))
    line = [
        "curl", "--silent", "--show-error", "--tlsv1.3", "--cacert", str(scene.house / "tls" / "ca.pem"),
        "--header", f"@{secret}", "--data-binary", f"@{file}", "--write-out", "\n%{http_code}",
        f"{scene.url}/v2/models/digits/infer",
    ]  # fmt: skip
    if shutil.which("curl") is None:
        return "skipped: curl is not installed"
    done = subprocess.run(line, capture_output=True, check=True, timeout=30)
    text, _, status = done.stdout.rpartition(b"\n")
    expect(status, b"200", "status")
    return f"200 {text[:96].decode(errors='replace')}…"


def target(scene: Scene) -> Target:
    """What the attackers see."""
    revoked = scene.people["caller"].must("access", "key", "create", "revoked")
    scene.people["caller"].must("access", "key", "revoke", str(revoked["key_id"]))
    return Target(
        home=scene.house, host="127.0.0.1", port=scene.port, ca=scene.house / "tls" / "ca.pem",
        people=scene.people, key=scene.key, slow_key=_key(scene, "slow", rate=1, burst=2),
        revoked_key=str(revoked["api_key"]), foreign_key=_foreign_key(scene.root / "other"), digit=scene.model.held_out[:1], blobs=scene.blobs,
    )  # fmt: skip


def _key(scene: Scene, name: str, rate: float, burst: float = 0) -> str:
    limit = ("--rate", str(rate), "--burst", str(burst or rate))
    return str(scene.people["caller"].must("access", "key", "create", name, *limit)["api_key"])


def _foreign_key(home: Path) -> str:
    """A valid key, but of another house."""
    stranger = Person(home, home / "credentials", "admin")
    stranger.must("init")
    credentials = (stranger.folder / "admin.json").read_bytes()
    return str(msgspec.json.decode(credentials, type=dict[str, str])["api_key"])


def no_marker(scene: Scene) -> str:
    """Scanning never executes."""
    expect(scene.model.marker.exists(), False, "marker file")
    return "no marker file"
