"""Certificates and signed requests as `docs/access.md` tells of them, typed at a house that runs, with two gateway workers."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.needs import need_tool
from tests.unit.interfaces.api.town import founded

ROOT = Path(__file__).resolve().parents[2]
_STATUS = " -o /dev/null -w '%{http_code}\\n'"


class Desk:
    """A shell with the program on its path, beside a house that runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        programs = folder / "bin"
        programs.mkdir()
        program = programs / "fastness"
        program.write_text(f"#!{sys.executable}\nfrom fastness.__main__ import main\nmain()\n")
        program.chmod(0o755)
        self.environment = {
            "HOME": str(folder), "PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT / "src"),
            "LANG": "C.UTF-8", "FASTNESS_SERVER__PORT": "0", "FASTNESS_SERVER__ADMIN_PORT": "0",
            "FASTNESS_SERVER__GATEWAYS": "2", "FASTNESS_SERVER__CLIENT_CERTIFICATES": "optional",
            "FASTNESS_SIGNATURES__SKEW_S": "1",
        }  # fmt: skip
        with founded(folder / ".fastness") as town:
            town.keep_credentials()
        self.log = (folder / "up.log").open("wb")
        command = ["fastness", "up"]
        self.running = subprocess.Popen(command, env=self.environment, stdout=self.log, stderr=self.log, cwd=folder)
        url = folder / ".fastness" / "run" / "url"
        deadline = time.monotonic() + 60
        while not (found := list((folder / ".fastness").rglob("url"))) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert found, (url, (folder / "up.log").read_text())
        self.url = found[0].read_text()
        self.shell(
            f"for _ in $(seq 100); do curl -s --cacert ~/.fastness/tls/ca.pem {self.url}/readyz && break; sleep .1; done"
        )

    def shell(self, text: str) -> str:
        """What a command prints; it must not fail. The documents' port is the one of this house."""
        line = text.replace("https://127.0.0.1:8443", self.url).replace(
            "127.0.0.1:8443", self.url.removeprefix("https://")
        )
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", line],
            env=self.environment, cwd=self.folder, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}\n{(self.folder / 'up.log').read_text()}"
        return done.stdout

    def close(self) -> None:
        self.running.send_signal(signal.SIGINT)
        self.running.wait(60)
        self.log.close()


@pytest.fixture(scope="module")
def desk() -> Iterator[Desk]:
    for tool in ("bash", "curl", "openssl"):
        need_tool(tool)
    with tempfile.TemporaryDirectory(prefix="fst-") as folder:
        made = Desk(Path(folder))
        try:
            yield made
        finally:
            made.close()


def blocks(heading: str) -> list[str]:
    """The shell blocks of a section of the document."""
    text = (ROOT / "docs/access.md").read_text("utf-8")
    start = text.index(f"\n## {heading}\n")
    end = text.find("\n## ", start + 1)
    return re.findall(r"```sh\n(.*?)```", text[start : end if end > 0 else None], re.DOTALL)


def test_certificates_as_the_document_tells(desk: Desk) -> None:
    found = blocks("Certificates instead of keys")
    assert len(found) >= 3
    said = [desk.shell(block) for block in found]
    assert any('"name":"unknown"' in text or "model-unknown" in text for text in said), said  # known, and no such model
    listed = desk.shell("fastness access certificate list --format json --as auditor")
    ids = re.findall(r'"id": ?"([\w-]{43})"', listed)
    assert len(ids) >= 2
    call = "curl -s --cacert ~/.fastness/tls/ca.pem --cert web.pem --key web.key https://127.0.0.1:8443/v2/models/none"
    assert desk.shell(call + _STATUS).strip() == "404"
    for each in ids:
        desk.shell(f"fastness access certificate revoke {each} --as admin")
    assert desk.shell(call + _STATUS).strip() == "401"


def test_signed_requests_as_the_document_tells(desk: Desk) -> None:
    found = blocks("Signed requests")
    assert len(found) >= 2
    said = [desk.shell(block) for block in found]
    assert any("model-unknown" in text for text in said), said
    again = "curl -s --cacert ~/.fastness/tls/ca.pem -H @signed https://127.0.0.1:8443/v2/models/digits" + _STATUS
    answers = [desk.shell(again).strip() for _ in range(6)]
    assert set(answers) == {"401"}  # whichever worker takes it
    listed = desk.shell("fastness access signing-key list --format json --as auditor")
    (identifier,) = re.findall(r'"id": ?"([\w-]{43})"', listed)
    desk.shell(f"fastness access signing-key revoke {identifier} --as admin")


def test_the_command_that_calls(desk: Desk) -> None:
    desk.shell("openssl genpkey -algorithm ed25519 -out call.key; openssl pkey -in call.key -pubout -out call.pub.pem")
    desk.shell("fastness access signing-key add call.pub.pem --for service:robot --as admin")
    assert "model-unknown" in desk.shell("fastness call none -i X=[[1]] --sign call.key --as admin 2>&1 || true")
    desk.shell("fastness access certificate issue mesh.pem --for service:robot --as admin")
    assert "model-unknown" in desk.shell("fastness call none -i X=[[1]] --cert mesh.pem --as admin 2>&1 || true")
    refused = desk.shell("fastness call none -i X=[[1]] --cert mesh.pem --sign call.key 2>&1 || true")
    assert "credentials-mixed" in refused
    assert "file-exists" in desk.shell(
        "fastness access certificate issue mesh.pem --for service:robot --as admin 2>&1 || true"
    )
    shown = desk.shell("fastness access routes --format json --as admin")
    assert '"certificate"' in shown
    assert '"signature"' in shown
