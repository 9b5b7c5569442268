"""The full request path to a sandboxed model worker, beside nginx that only passes a request on, in one run.

Method: nginx (one worker) passes requests on to a second server of the same nginx, which returns a fixed body as long as the
gateway's answer. The gateway is one process, plain HTTP, kept-alive connections, with every step on: key, policy, rate,
decoding, all guard stages on both ways, a real model in a sandboxed worker over its Unix socket, an event in the journal
before each reply, disk syncs every 10 ms. wrk sends the same Open Inference Protocol body (one digit, 64 FP32 values) to both.
The targets take turns in each round, so that a neighbour's noise spreads over all; medians of the rounds are compared.

CPU a request is user and system time of the gateway's process (the figure) and of the worker's (beside it), from /proc, divided
by the answers. It is less sensitive to other load than the rate is, yet on a busy machine it grows by half: caches are shared.
So plain uvicorn with a constant answer stands in the table, as the floor of that moment.

Caveats: load generator, nginx, gateway and worker share the cores, so rates are far below what each could do alone: read the
ratio. nginx decides nothing, and its upstream is a constant. TLS is left out of both: the handshake is amortised over a
connection; `--tls` shows the gateway with TLS 1.3 on its side only. Client and server on one machine: no network. Where no
sandbox is possible, the model runs in the gateway's own process, and the report says so: that is not the figure.
Exit status: always 0 unless something does not run; the targets become a gate with the gateway work.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import hmac
import ipaddress
import json
import math
import os
import shutil
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from fastness.core.signature import ModelSignature
    from fastness.models.runtime import Predictor

TARGET_RATIO = 0.35
TARGET_CPU_US = 70.0
CONNECTIONS = 16
PATH = "/v2/models/digits/infer"
KEY_ID, SECRET, PEPPER = "benchkey", bytes(range(1, 33)), bytes(range(32))


# --- the gateway, in a process of its own --------------------------------------------------------------------------------
def digits_model() -> bytes:
    """A classifier of scikit-learn's digits, as ONNX."""
    from skl2onnx import to_onnx
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression

    pixels, labels = load_digits(return_X_y=True)
    model = LogisticRegression(max_iter=500).fit(pixels / 16, labels)
    made = to_onnx(model, pixels[:1].astype("float32"), options={"zipmap": False}, target_opset=17)
    data: bytes = made.SerializeToString()
    return data


class _NoNonces:
    """Nothing that is measured here is signed; `benchmarks/possession.py` measures that."""

    async def once(self, *_: object) -> bool:
        return False


def serve(folder: Path, port: int, *, tls: bool) -> None:
    """Start the worker, then serve until the parent goes away."""
    import uvicorn

    from fastness.access import Credentials, Policies
    from fastness.access.apikeys import format_key
    from fastness.access.credentials import KeyRecord
    from fastness.access.policysets import PolicyBook
    from fastness.access.possession import PossessionKeys, SignatureSettings
    from fastness.access.possession.signatures import Rule
    from fastness.access.quotas import QuotaBook, QuotaSettings
    from fastness.access.restrictions import Restrictions
    from fastness.access.tokens import TokenKeys
    from fastness.core.clock import SystemClock, system_entropy
    from fastness.core.identity import PrincipalId, PrincipalKind, Role, TenantId
    from fastness.core.limits import Limit
    from fastness.foundation.storage import FileJournal, Live, MemoryCounters
    from fastness.foundation.storage.counters import Desk, LeasedCounters, LeaseReply, LeaseRequest
    from fastness.foundation.telemetry import Metrics
    from fastness.gateway import EdgeProtocol, GatewayParts, GatewaySettings, create_app
    from fastness.models.release import Route, Routes

    signature, predictor, note, running = model_worker(folder)
    credentials: Live[Credentials] = Live(1e6)
    routes: Live[Routes] = Live(1e6)
    record = KeyRecord(
        KEY_ID,
        PrincipalId("service:bench"),
        PrincipalKind.SERVICE,
        TenantId("default"),
        frozenset({Role.DEVELOPER}),
        Limit(1e6, 1e6),
        1 << 62,
    )
    digest = hmac.digest(PEPPER, format_key(KEY_ID, SECRET).encode(), "sha256")
    credentials.publish(Credentials(PEPPER, {digest: record}), 1)
    route = Route("default", "digits", 1, "bench", signature, str(folder / "w.sock"))
    routes.publish(Routes({"digits": route}), 1)
    tokens: Live[TokenKeys] = Live(1e6)
    tokens.publish(TokenKeys("https://house", "https://house", {}, {}, frozenset()), 1)
    restrictions: Live[Restrictions] = Live(1e6)
    restrictions.publish(Restrictions(()), 1)
    quotas: Live[QuotaBook] = Live(1e6)
    quotas.publish(QuotaBook({}, QuotaSettings(*[1_000_000] * 4).defaults), 1)
    possession: Live[PossessionKeys] = Live(1e6)
    possession.publish(PossessionKeys(), 1)
    for live in (credentials, routes, tokens, restrictions, quotas, possession):
        live.confirm(time.monotonic_ns())
    house = Desk(MemoryCounters())

    async def desk(request: LeaseRequest) -> LeaseReply:
        """The other end of the socket, without one; a busy key asks it some twenty times a second."""
        return house.serve(request, SystemClock().now())

    parts = GatewayParts(
        credentials=credentials,
        tokens=tokens,
        policies=PolicyBook(Policies.shipped(), {}),
        restrictions=restrictions,
        quotas=quotas,
        routes=routes,
        predictor_for=lambda _: predictor,
        counters=MemoryCounters(),
        shared=LeasedCounters(desk),
        journal=FileJournal(folder / "journal", "gateway-0"),
        metrics=Metrics(),
        clock=SystemClock(),
        entropy=system_entropy,
        possession=possession,
        nonces=_NoNonces(),
        signed=Rule(SignatureSettings(), frozenset()),
    )
    config = uvicorn.Config(
        create_app(parts, GatewaySettings()),
        http=EdgeProtocol,
        ws="none",
        lifespan="off",
        access_log=False,
        log_level="error",
        server_header=False,
        date_header=False,
        proxy_headers=False,
        loop="uvloop",
    )
    config.load()
    if tls:
        config.ssl = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        config.ssl.minimum_version = ssl.TLSVersion.TLSv1_3
        config.ssl.load_cert_chain(*certificate(folder))
    (folder / "note.json").write_text(json.dumps({"note": note, "worker": running}))
    listener = socket.create_server(("127.0.0.1", port), backlog=512)
    uvicorn.Server(config).run(sockets=[listener])


async def constant(_scope: object, receive: Any, send: Any) -> None:
    """An application that does nothing but answer."""
    await receive()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"400")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"x" * 400})


def serve_constant(port: int) -> None:
    import uvicorn

    uvicorn.run(
        constant,
        port=port,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        access_log=False,
        log_level="error",
    )


def model_worker(folder: Path) -> tuple[ModelSignature, Predictor, str, int]:
    """The model in a sandboxed worker; in this process only where no sandbox is possible."""
    from fastness.core.errors import FastnessError
    from fastness.foundation.sandbox import Sandbox, SandboxSettings, SealedFile
    from fastness.models.runtime import ModelHost, RuntimeSettings, WorkerPredictor

    data = digits_model()

    def fill(view: memoryview) -> None:
        view[:] = data

    settings = RuntimeSettings()
    try:
        host = ModelHost(Sandbox.detect(SandboxSettings()), settings)
        running = host.start(SealedFile.filled("model", len(data), fill), "onnx", folder / "w.sock")
    except FastnessError as error:
        signature, predictor = in_process(data)
        return signature, predictor, f"no sandbox here ({error}); the model runs in the gateway's process", 0
    model_worker.keeps = running  # type: ignore[attr-defined]  # for as long as the process lives
    predictor = WorkerPredictor(folder / "w.sock", running.described, settings)
    return running.described, predictor, "", running.pid


def in_process(data: bytes) -> tuple[ModelSignature, Predictor]:
    import onnxruntime

    from fastness.core.signature import Datatype, ModelSignature, TensorSpec

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])

    class Here:
        async def predict(self, tensors: dict[str, np.ndarray], timeout_s: float) -> dict[str, np.ndarray]:
            label, probabilities = session.run(None, tensors)
            return {"label": label, "probabilities": probabilities}

    outputs = (TensorSpec("label", Datatype.INT64, (-1,)), TensorSpec("probabilities", Datatype.FP32, (-1, 10)))
    return ModelSignature((TensorSpec("X", Datatype.FP32, (-1, 64)),), outputs), Here()


def certificate(folder: Path) -> tuple[Path, Path]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "bench")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    chain, secret = folder / "chain.pem", folder / "key.pem"
    chain.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    secret.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    return chain, secret


# --- measuring -----------------------------------------------------------------------------------------------------------
@dataclass
class Sample:
    rate: float
    p50_us: float
    p99_us: float
    bad: int
    cpu_us: float = 0.0
    worker_us: float = 0.0
    alone_p50_us: float = 0.0


@dataclass
class Target:
    name: str
    url: str
    script: Path
    pid: int = 0
    worker: int = 0
    samples: list[Sample] = field(default_factory=list)

    def median(self, what: str) -> float:
        return statistics.median([float(getattr(sample, what)) for sample in self.samples])


def cpu_s(pid: int) -> float:
    """User and system seconds of one process, all its threads, and its ended children not counted."""
    if not pid:
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wrk(target: Target, connections: int, seconds: float) -> tuple[int, Sample]:
    command = [
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{math.ceil(seconds)}s",  # whole seconds only
        "--timeout",
        "20s",
        "-s",
        str(target.script),
        target.url,
    ]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for line in said.splitlines():
        if line.startswith("RES"):
            count, duration, p50, p99, bad = map(int, line.split()[1:])
            return count, Sample(count / (duration / 1e6), p50, p99, bad)
    raise RuntimeError(f"wrk said nothing of {target.name}: {said[-500:]}")


def measure(target: Target, seconds: float) -> None:
    _, alone = wrk(target, 1, max(1, seconds / 4))
    before, worker_before = cpu_s(target.pid), cpu_s(target.worker)
    count, sample = wrk(target, CONNECTIONS, seconds)
    sample.cpu_us = (cpu_s(target.pid) - before) / max(1, count) * 1e6
    sample.worker_us = (cpu_s(target.worker) - worker_before) / max(1, count) * 1e6
    sample.alone_p50_us = alone.p50_us
    target.samples.append(sample)


def script(folder: Path, name: str, body: bytes, headers: dict[str, str]) -> Path:
    text = "".join(f"\\{byte:03d}" for byte in body)  # Lua: any byte by its number
    lines = "".join(f'wrk.headers["{key}"] = "{value}"\n' for key, value in headers.items())
    path = folder / f"{name}.lua"
    path.write_text(
        f'wrk.method = "POST"\nwrk.body = "{text}"\n{lines}'
        "function done(s, l, r) io.write(string.format('RES %d %d %d %d %d\\n', s.requests, s.duration, l:percentile(50),"
        " l:percentile(99), s.errors.status + s.errors.read + s.errors.connect + s.errors.timeout + s.errors.write)) end\n"
    )
    return path


def nginx(folder: Path, ports: tuple[int, int], answer: bytes) -> subprocess.Popen[bytes]:
    temporary = "".join(
        f"{kind}_temp_path {folder / kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    filler = "x" * len(answer)
    (folder / "nginx.conf").write_text(f"""
worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{ access_log off; keepalive_requests 100000000; keepalive_timeout 600s; client_body_buffer_size 1m; {temporary}
upstream up {{ server 127.0.0.1:{ports[0]}; keepalive 64; keepalive_requests 100000000; }}
server {{ listen 127.0.0.1:{ports[0]}; location / {{ default_type application/json; return 200 '{filler}'; }} }}
server {{ listen 127.0.0.1:{ports[1]};
  location / {{ proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection ""; }} }} }}
""")
    program = shutil.which("nginx", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"]))
    if program is None:
        raise SystemExit("nginx is not installed")
    return subprocess.Popen([program, "-c", str(folder / "nginx.conf")], stderr=subprocess.DEVNULL)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def wait_for(port: int, process: subprocess.Popen[bytes], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            raise SystemExit(f"{process.args!r} ended with {process.returncode}")
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        time.sleep(0.05)
    raise SystemExit(f"{process.args!r} does not listen")


@contextlib.contextmanager
def ending(*processes: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()


def ask(port: int, body: bytes, headers: dict[str, str]) -> bytes:
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("POST", PATH, body, headers)
    reply = connection.getresponse()
    answer = reply.read()
    if reply.status != 200:
        raise SystemExit(f"the gateway answers {reply.status}: {answer!r}")
    return answer


def start_gateway(folder: Path, *, tls: bool) -> tuple[subprocess.Popen[bytes], int, dict[str, object]]:
    place = folder / ("tls" if tls else "plain")
    place.mkdir()
    port = free_port()
    command = [sys.executable, __file__, "--serve", str(place), "--port", str(port), *(["--tls"] if tls else [])]
    process = subprocess.Popen(command)
    wait_for(port, process)
    note: dict[str, object] = json.loads((place / "note.json").read_text())
    return process, port, note


def run(seconds: float, rounds: int, *, tls: bool) -> None:
    import numpy as np
    from sklearn.datasets import load_digits

    from fastness.access.apikeys import format_key
    from fastness.wire import oip

    pixels = (load_digits().data[:1] / 16).astype(np.float32)
    key = {"authorization": f"Bearer {format_key(KEY_ID, SECRET)}"}
    plain, plain_headers = oip.encode_request({"X": pixels}, binary=False)
    dense, dense_headers = oip.encode_request({"X": pixels})
    with tempfile.TemporaryDirectory(prefix="fastness-bench-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        process, port, note = start_gateway(folder, tls=False)
        stack.enter_context(ending(process))
        answer = ask(port, plain, key | plain_headers)
        floor_port = free_port()
        floor = subprocess.Popen([sys.executable, __file__, "--constant", "--port", str(floor_port)])
        stack.enter_context(ending(floor))
        wait_for(floor_port, floor)
        ports = (free_port(), free_port())
        proxy = nginx(folder, ports, answer)
        stack.enter_context(ending(proxy))
        wait_for(ports[1], proxy)
        worker = int(str(note["worker"]))
        json_script = script(folder, "json", plain, key | plain_headers)
        targets = [
            Target("nginx, answers itself", f"http://127.0.0.1:{ports[0]}{PATH}", json_script),
            Target("nginx, passes on", f"http://127.0.0.1:{ports[1]}{PATH}", json_script),
            Target("uvicorn, answers itself", f"http://127.0.0.1:{floor_port}{PATH}", json_script, floor.pid),
            Target("gateway, JSON", f"http://127.0.0.1:{port}{PATH}", json_script, process.pid, worker),
            Target(
                "gateway, binary",
                f"http://127.0.0.1:{port}{PATH}",
                script(folder, "binary", dense, key | dense_headers),
                process.pid,
                worker,
            ),
        ]
        if tls:
            secured, tls_port, tls_note = start_gateway(folder, tls=True)
            stack.enter_context(ending(secured))
            url = f"https://127.0.0.1:{tls_port}{PATH}"
            targets.append(
                Target("gateway, JSON, TLS 1.3", url, json_script, secured.pid, int(str(tls_note["worker"])))
            )
        for target in targets:
            wrk(target, CONNECTIONS, 1)
        for _ in range(rounds):
            for target in targets:
                measure(target, seconds)
        report(targets, str(note["note"]), len(plain), len(answer))


def report(targets: list[Target], note: str, asked: int, answered: int) -> None:
    passed_on = next(target for target in targets if target.name == "nginx, passes on")
    print(f"Open Inference Protocol, 1 digit of 64 FP32 values: {asked} bytes asked in JSON, {answered} answered")
    if note:
        print(f"NOTE: {note}")
    print(
        f"{'':24}{'a second':>10}{'x nginx':>9}{'p50 us':>9}{'p99 us':>9}{'alone us':>10}{'CPU us':>8}{'worker us':>11}{'bad':>5}"
    )
    for target in targets:
        print(
            f"{target.name:24}{target.median('rate'):10.0f}{target.median('rate') / passed_on.median('rate'):9.3f}"
            f"{target.median('p50_us'):9.0f}{target.median('p99_us'):9.0f}{target.median('alone_p50_us'):10.0f}"
            f"{target.median('cpu_us'):8.1f}{target.median('worker_us'):11.1f}{sum(s.bad for s in target.samples):5d}"
        )
    served = next(target for target in targets if target.name == "gateway, JSON")
    ratio = served.median("rate") / passed_on.median("rate")
    cpu = served.median("cpu_us")
    for text, value, met in (
        (f"rate beside nginx passing on, at least {TARGET_RATIO}", f"{ratio:.3f}", ratio >= TARGET_RATIO),
        (f"CPU us a request of the gateway, at most {TARGET_CPU_US:g}", f"{cpu:.1f}", cpu <= TARGET_CPU_US),
        (
            "answers other than 200",
            str(sum(s.bad for t in targets for s in t.samples)),
            not any(s.bad for t in targets for s in t.samples),
        ),
    ):
        print(f"{'PASS' if met else 'MISS'}  {text}: {value}")
    print(
        f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; read ratios, and see the caveats at the top of this file"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--tls", action="store_true", help="also with TLS 1.3")
    parser.add_argument("--constant", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.constant:
        serve_constant(options.port)
        return
    if options.serve:
        serve(options.serve, options.port, tls=options.tls)
        return
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is not installed")
    run(2 if options.quick else 5, 1 if options.quick else 5, tls=options.tls)


if __name__ == "__main__":
    main()
