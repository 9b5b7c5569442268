"""`fastness demo`: the whole story on a real model, told in the terminal; anything that is not as told fails it."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from fastness.core.errors import FastnessError, Unavailable
from fastness.interfaces.cli.demo import admission, serving
from fastness.interfaces.cli.demo.attacks import attack
from fastness.interfaces.cli.demo.model import Trained, train
from fastness.interfaces.cli.demo.people import Person
from fastness.interfaces.cli.demo.scene import Scene
from fastness.interfaces.cli.demo.story import Differs, Story
from fastness.interfaces.cli.output import print_json

__all__ = ["tell"]

_CAST = {
    "author": "publisher", "reviewer-one": "approver", "reviewer-two": "approver", "operator": "operator",
    "officer": "security-officer", "auditor": "auditor", "caller": "developer",
}  # fmt: skip
_SETTINGS = """
[gateway]
header_deadline_s = 1.0
"""


def tell(home: Path | None, *, keep: bool, as_json: bool) -> int:
    """Tell the story; 0 if everything went as told."""
    started = time.perf_counter()
    root = home or Path(tempfile.mkdtemp(prefix="fastness-demo-"))
    out = Console(quiet=as_json, highlight=False)
    story = Story(out)
    try:
        _tell(story, root)
    except (FastnessError, subprocess.SubprocessError, OSError) as error:
        broken = str(error)
        story.step("the story itself", "goes to its end", lambda: _differ(broken))
    finally:
        if not keep:
            shutil.rmtree(root, ignore_errors=True)
    if as_json:
        print_json({"as_told": story.as_told, "home": str(root / "home"), "steps": story.lines})
    else:
        _end(out, story, root, time.perf_counter() - started)
    return 0 if story.as_told else 1


def _differ(text: str) -> str:
    raise Differs(text)


def _tell(story: Story, root: Path) -> None:
    root.mkdir(parents=True, exist_ok=True)
    house = root / "home"
    story.chapter("Train a model on real scans")
    trained: list[Trained] = []
    story.step(
        "train on 1,347 digits, keep 450 back",
        "ONNX, joblib, and a joblib with a payload",
        lambda: _train(root, trained),
    )
    model = trained[0]
    story.chapter("Make a house and its people")
    admin = Person(house, house / "credentials", "admin")
    story.step("fastness init, then up", "serving TLS 1.3", lambda: _init(admin))
    port = _free_port()
    with _up(house, port):
        people = {"admin": admin}
        story.step(
            "enrol people",
            "each makes a key that nobody else holds, and an app for second factors",
            lambda: _enrol(people, root),
        )
        _told(story, Scene(root, people, model, port))


def _told(say: Story, scene: Scene) -> None:
    """From the first push to the last attack."""
    say.chapter("Push: what should be refused is refused")
    say.step("push the pickle with the payload", "refused, with opcode offset", lambda: admission.push_payload(scene))
    say.step("push the ONNX model", "registered as version 1", lambda: admission.push(scene, scene.model.onnx, 1))
    say.chapter("Approve and deploy: nobody alone")
    say.step(
        "deploy with an API key alone",
        "refused: step-up-required",
        lambda: admission.deploy_without_factor(scene),
    )
    say.step(
        "give the second factor; deploy while checks were not run",
        "refused: policy-denied",
        lambda: admission.deploy_unassessed(scene),
    )
    say.step("allow the unrun checks in development, signed, 14 days", "allowance", lambda: admission.allow(scene))
    say.step("deploy without approvals", "refused: approvals-missing", lambda: admission.deploy_early(scene))
    say.step("the author approves", "refused", lambda: admission.author_approves(scene))
    say.step("first approval, signed by its own key", "1 of 2", lambda: admission.approve(scene, "reviewer-one", 1, 1))
    say.step("deploy with one approval", "refused: approvals-missing", lambda: admission.deploy_early(scene))
    say.step("second approval, by another person", "2 of 2", lambda: admission.approve(scene, "reviewer-two", 1, 2))
    say.step("deploy to development", "deployed", lambda: admission.deploy(scene, 1))
    say.step("deploy to production, which allows nothing", "refused", lambda: admission.deploy_production(scene))
    say.chapter("Serve: from a sandbox, over TLS 1.3")
    say.step("doctor", "every required layer holds", lambda: serving.doctor(scene))
    if not say.step("wait for the worker", "ready", lambda: serving.ready(scene)):
        return
    say.step(
        "450 held-out digits through the SDK",
        "predictions identical to the local model's",
        lambda: serving.accuracy(scene),
    )
    say.step("the same by curl, JSON", "200", lambda: serving.curl(scene, binary=False))
    say.step("the same by curl, binary tensors", "200", lambda: serving.curl(scene, binary=True))
    say.step(
        "push a second version, left unapproved",
        "registered as version 2",
        lambda: admission.push(scene, scene.model.second_onnx, 2),
    )
    attack(say, serving.target(scene))
    say.chapter("And at the end")
    say.step("the payload never ran", "no marker file", lambda: serving.no_marker(scene))


def _train(root: Path, into: list[Trained]) -> str:
    into.append(train(root))
    return f"accuracy {into[0].accuracy:.3f} on the {len(into[0].labels)} held out"


def _init(admin: Person) -> str:
    reply = admin.must("init")
    admin.set_up(reply["app"])
    settings = admin.home / "fastness.toml"
    settings.write_text(settings.read_text("utf-8") + _SETTINGS, "utf-8")
    return f"{reply['principal']}, {reply['ca']}"


def _enrol(people: dict[str, Person], root: Path) -> str:
    admin = people["admin"]
    for name, role in _CAST.items():
        code = admin.must("access", "user", "create", name, "--role", role)["code"]
        people[name] = Person(admin.home, root / "people" / name, name)
        people[name].set_up(people[name].must("access", "enroll", str(code))["app"])
    return ", ".join(f"{name} ({role})" for name, role in _CAST.items())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def _up(home: Path, port: int) -> Iterator[None]:
    """`fastness up` in a process of its own, until the story ends."""
    with (home.parent / "up.log").open("wb") as log:
        line = [
            sys.executable,
            "-I",
            "-m",
            "fastness",
            "--home",
            str(home),
            "up",
            "--port",
            str(port),
            "--admin-port",
            str(_free_port()),
        ]
        process = subprocess.Popen(line, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            _wait_until_up(process, home, port)
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_up(process: subprocess.Popen[bytes], home: Path, port: int) -> None:
    from fastness.client import HttpTransport

    end = time.monotonic() + 30
    while time.monotonic() < end and process.poll() is None:
        with (
            contextlib.suppress(FastnessError),
            HttpTransport(f"https://127.0.0.1:{port}", home / "tls" / "ca.pem") as gateway,
        ):
            if gateway.send("GET", "/readyz", {}).status == 200:
                return
        time.sleep(0.1)
    raise Unavailable("demo-up", f"the house did not come up; see {home.parent / 'up.log'}")


def _program() -> str:
    """How this program was called, so that what is printed can be typed."""
    return sys.argv[0] if Path(sys.argv[0]).name == "fastness" else f"{sys.executable} -m fastness"


def _end(out: Console, story: Story, root: Path, seconds: float) -> None:
    out.print()
    out.print(story.table())
    failed = sum(not line.as_told for line in story.lines)
    verdict = (
        "[bold green]everything as told[/bold green]" if not failed else f"[bold red]{failed} steps differ[/bold red]"
    )
    out.print(f"\n{verdict}: {len(story.lines)} steps in {seconds:.1f} s")
    home = root / "home"
    if home.exists():
        out.print(f"[bold]home[/bold] {home}", soft_wrap=True)
        out.print("[bold]go on[/bold]", soft_wrap=True)
        for command in (
            "up",
            f"models show digits 1 --credentials {root / 'people' / 'author'} --as author",
            "audit verify",
        ):
            out.print(f"  {_program()} --home {home} {command}", soft_wrap=True)
