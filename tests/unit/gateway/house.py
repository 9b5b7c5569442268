"""A gateway with everything it needs in one process: real keys, policies, journal, guard, and a real ONNX model."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import hmac
import http.client
import ipaddress
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fastness.access import Credentials, Policies
from fastness.access.apikeys import format_key
from fastness.access.credentials import KeyRecord
from fastness.access.policysets import PolicyBook
from fastness.access.possession import Nonce, Nonces, PossessionKeys, SignatureSettings
from fastness.access.possession.signatures import Rule
from fastness.access.quotas import Quota, QuotaBook, QuotaSettings
from fastness.access.restrictions import Restrictions
from fastness.access.restrictions.fence import Standing
from fastness.access.tokens import TokenKeys
from fastness.app.leaf import Leaf, load_leaf, strict_context
from fastness.core.clock import Instant, SystemClock, system_entropy
from fastness.core.errors import Unavailable
from fastness.core.events import Event, decode_event
from fastness.core.identity import PrincipalId, PrincipalKind, Role, TenantId
from fastness.core.limits import Limit
from fastness.core.signature import Datatype, ModelSignature, TensorSpec
from fastness.foundation.storage import FileJournal, Live, MemoryCounters, counters
from fastness.foundation.storage.journal import read_journal
from fastness.foundation.telemetry import Metrics
from fastness.gateway import EdgeProtocol, Gateway, GatewayParts, GatewaySettings, create_app
from fastness.guard import Guard, GuardSettings, build_guard
from fastness.models.release.routes import Route, Routes
from fastness.wire import oip

TENANT = TenantId("default")
SIGNATURE = ModelSignature(
    (TensorSpec("X", Datatype.FP32, (-1, 64), low=0, high=16),),
    (TensorSpec("label", Datatype.INT64, (-1,)), TensorSpec("p", Datatype.FP32, (-1, 10), low=0, high=1.001)),
    probabilities="p",
)
FOREVER = 1 << 62
WIDE = Limit(1e6, 1e6)


def model_bytes() -> bytes:
    """A linear classifier of 64 pixels into 10 classes, with weights that are fixed."""
    weights = np.random.default_rng(7).normal(size=(64, 10)).astype(np.float32) * 0.1
    helper = onnx.helper
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["X", "W"], ["z"]),
            helper.make_node("Softmax", ["z"], ["p"], axis=1),
            helper.make_node("ArgMax", ["p"], ["label"], axis=1, keepdims=0),
        ],
        "digits",
        [helper.make_tensor_value_info("X", onnx.TensorProto.FLOAT, [None, 64])],
        [
            helper.make_tensor_value_info("label", onnx.TensorProto.INT64, [None]),
            helper.make_tensor_value_info("p", onnx.TensorProto.FLOAT, [None, 10]),
        ],
        [onnx.numpy_helper.from_array(weights, "W")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    return model.SerializeToString()


class OnnxPredictor:
    """The model in this process; says what it is told to where a test wants a worker that fails."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(model_bytes(), options, providers=["CPUExecutionProvider"])
        self.failure: Exception | None = None
        self.delay_s = 0.0
        self.edits: dict[str, np.ndarray] = {}
        self.calls = 0

    async def predict(self, tensors: dict[str, np.ndarray], timeout_s: float) -> dict[str, np.ndarray]:
        self.calls += 1
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if self.failure is not None:
            raise self.failure
        label, p = self._session.run(["label", "p"], tensors)
        return {"label": label, "p": p} | self.edits


class FullJournal(FileJournal):
    """A journal whose disk can be full: at the append, or at the flush."""

    full_at = ""

    def append(self, event: Event) -> None:
        if self.full_at == "append":
            raise Unavailable("journal-full", "the disk of the journal is full")
        super().append(event)

    def flush(self) -> None:
        if self.full_at == "flush":
            raise Unavailable("journal-full", "the disk of the journal is full")
        super().flush()


class MemoryNonces:
    """The memory of nonces of a whole house, as the workers reach it."""

    def __init__(self) -> None:
        self._nonces = Nonces(counters.MemorySeen(), None, 5)

    async def once(self, nonce: Nonce, now: Instant) -> bool:
        return self._nonces.once(nonce, now)


@dataclass
class House:
    """The parts, within a test's reach.

    Attributes:
        keys: texts of API keys by the name of who holds them.
        now_ns: the monotonic time of the snapshots; moved on, they are stale.
    """

    folder: Path
    settings: GatewaySettings = field(default_factory=GatewaySettings)
    signature: ModelSignature = SIGNATURE
    now_ns: int = 0
    guard: GuardSettings = field(default_factory=GuardSettings)
    guard_for: Callable[[GuardSettings], Guard] = build_guard
    certified: bool = False
    rules: Policies = field(default_factory=Policies.shipped)

    def __post_init__(self) -> None:
        self.pepper = bytes(range(32))
        self.keys: dict[str, str] = {}
        self.credentials: Live[Credentials] = Live(1.0, lambda: self.now_ns)
        self.routes: Live[Routes] = Live(1.0, lambda: self.now_ns)
        self.tokens: Live[TokenKeys] = Live(1.0, lambda: self.now_ns)
        self.restrictions: Live[Restrictions] = Live(1.0, lambda: self.now_ns)
        self.quotas: Live[QuotaBook] = Live(1.0, lambda: self.now_ns)
        self.possession: Live[PossessionKeys] = Live(1.0, lambda: self.now_ns)
        self.policies = PolicyBook(self.rules, {})
        self.shared = MemoryCounters()
        self.predictor = OnnxPredictor()
        self.journal = FullJournal(self.folder / "journal", "gateway-0")
        self.metrics = Metrics()
        self.publish_keys()
        self.publish_routes()
        self.publish(self.tokens, TokenKeys("https://house", "https://house", {}, {}, frozenset()))
        self.restrict()
        self.limit()
        self.publish(self.possession, PossessionKeys())
        self.nonces = MemoryNonces()
        self.parts = GatewayParts(
            credentials=self.credentials,
            tokens=self.tokens,
            policies=self.policies,
            restrictions=self.restrictions,
            quotas=self.quotas,
            routes=self.routes,
            predictor_for=lambda route: self.predictor,
            counters=MemoryCounters(),
            shared=self.shared,
            journal=self.journal,
            metrics=self.metrics,
            clock=SystemClock(),
            entropy=system_entropy,
            possession=self.possession,
            nonces=self.nonces,
            signed=Rule(SignatureSettings(), frozenset({"gateway"})),
            certified=self.certified,
            guard_for=self.guard_for,
        )
        self.app: Gateway = create_app(self.parts, self.settings)

    def publish(self, live: Live[Any], value: object) -> None:
        live.publish(value, live.epoch + 1)
        live.confirm(self.now_ns)

    def confirm(self) -> None:
        """Say that all snapshots are the newest."""
        for live in (self.credentials, self.routes, self.tokens, self.restrictions, self.quotas, self.possession):
            live.confirm(self.now_ns)

    def restrict(self, *standing: Standing) -> None:
        """Let these restrictions stand, and no others."""
        self.publish(self.restrictions, Restrictions(standing))

    def limit(self, **quotas: tuple[Quota, ...]) -> None:
        """Let these quotas hold in the tenant `default`, by `kind_subject`; rates that hold for all are out of the way."""
        wide = QuotaSettings(1_000_000, 1_000_000, 1_000_000, 1_000_000).defaults
        named = {name.replace("_", ":", 1).replace("each", "*"): given for name, given in quotas.items()}
        self.publish(self.quotas, QuotaBook({TENANT: named}, wide))

    def publish_keys(self, *revoked: str) -> None:
        """Give out the keys, those of `revoked` no longer."""
        holders = {
            "caller": (Role.DEVELOPER, TENANT, WIDE, FOREVER),
            "viewer": (Role.VIEWER, TENANT, WIDE, FOREVER),
            "auditor": (Role.AUDITOR, TENANT, WIDE, FOREVER),
            "slow": (Role.DEVELOPER, TENANT, Limit(0.01, 2), FOREVER),
            "expired": (Role.DEVELOPER, TENANT, WIDE, 1),
            "stranger": (Role.DEVELOPER, TenantId("elsewhere"), WIDE, FOREVER),
        }
        records = {}
        for number, (name, (role, tenant, limit, expires_at)) in enumerate(holders.items()):
            key_id = f"{number + 1:08d}"
            self.keys[name] = format_key(key_id, bytes([number + 1]) * 32)
            digest = hmac.digest(self.pepper, self.keys[name].encode(), "sha256")
            principal = PrincipalId(f"service:{name}")
            records[digest] = KeyRecord(
                key_id,
                principal,
                PrincipalKind.SERVICE,
                tenant,
                frozenset({role}),
                limit,
                expires_at,
                revoked=name in revoked,
            )
        self.credentials.publish(Credentials(self.pepper, records), self.credentials.epoch + 1 if self.keys else 1)
        self.credentials.confirm(self.now_ns)

    def publish_routes(self) -> None:
        served = Route("default", "digits", 1, "revision-1", self.signature, "/nowhere.sock", guard=self.guard)
        held = Route("default", "digits", 2, "revision-2", self.signature, "", "approvals-missing", "1 of 2 approvals")
        broken = Route("default", "broken", 1, "revision-3", self.signature, "", "blob-corrupt", "segment 3 fails")
        foreign = Route("elsewhere", "foreign", 1, "revision-4", self.signature, "/nowhere.sock")
        routes = {
            "digits": served,
            "digits/1": served,
            "digits/2": held,
            "broken": broken,
            "foreign": foreign,
        }
        self.routes.publish(Routes(routes), 1)
        self.routes.confirm(self.now_ns)

    def events(self) -> list[Event]:
        """All events kept so far."""
        return [decode_event(record.data) for record in read_journal(self.folder / "journal", {})]

    def event(self, request_id: str) -> Event:
        """The one event of a request; replies come after events, so it is there."""
        found = [event for event in self.events() if event.request == request_id]
        assert len(found) == 1, f"{len(found)} events of {request_id!r}"
        return found[0]

    def headers(self, key: str | None = "caller", **headers: str) -> dict[str, str]:
        given = {"host": "gateway", "content-type": "application/json"}
        if key is not None:
            given["authorization"] = f"Bearer {self.keys.get(key, key)}"
        return given | {name.replace("_", "-"): value for name, value in headers.items()}


def digit(rows: int = 1) -> np.ndarray:
    return (np.arange(rows * 64, dtype=np.float32).reshape(rows, 64) * 7) % 17


def json_body(array: np.ndarray | None = None) -> bytes:
    return oip.encode_request({"X": digit() if array is None else array}, binary=False)[0]


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """The stable code of a problem."""
        assert self.headers["content-type"] == "application/problem+json"
        problem = json.loads(self.body)
        assert problem["status"] == self.status
        assert problem["detail"]
        return str(problem["type"]).removeprefix("urn:fastness:problem:")

    @property
    def request_id(self) -> str:
        return self.headers["x-request-id"]


@dataclass
class Served:
    """A house behind a real server."""

    house: House
    port: int
    context: ssl.SSLContext | None

    def connect(self, timeout_s: float = 20) -> socket.socket:
        raw = socket.create_connection(("127.0.0.1", self.port), timeout_s)
        return raw if self.context is None else self.context.wrap_socket(raw, server_hostname="127.0.0.1")

    def raw(self, data: bytes, *, pause_s: float = 0) -> Reply:
        """What comes back for these bytes, on a connection of their own; status 0 where it is closed without a word."""
        with contextlib.closing(self.connect()) as sock:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError, ssl.SSLError):
                sock.sendall(data)
            if pause_s:
                time.sleep(pause_s)
            return read_reply(sock)

    def ask(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Reply:
        given = self.house.headers() if headers is None else headers
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items())]
        if body is not None:
            lines.append(f"content-length: {len(body)}")
        head = "\r\n".join([*lines, "", ""]).encode("latin-1")
        return self.raw(head + (body or b""))

    def infer(self, body: bytes | None = None, path: str = "/v2/models/digits/infer", **headers: str) -> Reply:
        return self.ask("POST", path, json_body() if body is None else body, self.house.headers(**headers))

    def serves(self) -> None:
        """It still does what it is for."""
        reply = self.infer()
        assert reply.status == 200, reply.body
        assert self.house.event(reply.request_id).kind == "request.allowed"


def read_reply(sock: socket.socket) -> Reply:
    response = http.client.HTTPResponse(sock)
    try:
        response.begin()
        body = response.read()
    except (http.client.HTTPException, ConnectionResetError, ssl.SSLError):
        return Reply(0, {}, b"")
    return Reply(response.status, {name.lower(): value for name, value in response.getheaders()}, body)


def certificate(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gateway")])
    now = dt.datetime.now(dt.UTC)
    alternatives = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(alternatives, critical=False)
        .sign(key, hashes.SHA256())
    )
    chain, secret = folder / "chain.pem", folder / "key.pem"
    chain.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return chain, secret


@contextlib.contextmanager
def serving(house: House, *, tls: bool = True, leaf: Leaf | None = None) -> Iterator[Served]:
    """Serve `house` by uvicorn, as `fastness up` does, in a thread of its own; with `leaf` just as that does."""
    context = None
    config = uvicorn.Config(
        house.app,
        http=EdgeProtocol,
        ws="none",
        lifespan="off",
        access_log=False,
        log_level="critical",
        server_header=False,
        date_header=False,
        proxy_headers=False,
        loop="uvloop",
        timeout_graceful_shutdown=5,
    )
    config.load()
    if leaf is not None:
        config.ssl = strict_context()
        load_leaf(config.ssl, leaf)
        context = ssl.create_default_context(cadata=leaf.clients_pem)
    elif tls:
        chain, secret = certificate(house.folder)
        config.ssl = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        config.ssl.minimum_version = ssl.TLSVersion.TLSv1_3
        config.ssl.load_cert_chain(chain, secret)
        context = ssl.create_default_context(cafile=str(chain))
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        time.sleep(0.005)
    try:
        yield Served(house, listener.getsockname()[1], context)
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()
        house.journal.close()
