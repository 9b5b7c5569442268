"""Buckets, read from a server that speaks S3 over the loopback."""

from __future__ import annotations

import json
import pickle
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import obstore
import pytest
from moto.server import ThreadedMotoServer
from obstore.store import MemoryStore

from fastness.core.errors import Conflict, Invalid, NotFound, Unavailable
from fastness.interfaces.cli import main
from fastness.models.scan import Outcome, Report, RunSettings, Scanner, pool
from fastness.models.scan.buckets import Listed, ObjectSource, scan_object
from fastness.models.scan.bundles import Bundle
from fastness.models.scan.files import Work
from tests.unit.models.scan.artifacts import EVIL, onnx_model, rules_of

PLAIN = pickle.dumps({"lr": 0.1})
LONG = bytes(range(256)) * (40 << 10)  # 10 MiB


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
    server.start()
    yield f"http://127.0.0.1:{port}"
    server.stop()


@pytest.fixture
def client(address: str, monkeypatch: pytest.MonkeyPatch) -> Any:  # boto3 makes its classes as it runs
    for name, value in {
        "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": address, "AWS_ALLOW_HTTP": "true",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    client = boto3.client("s3", endpoint_url=address, region_name="us-east-1")
    for bucket in client.list_buckets()["Buckets"]:
        for one in client.list_objects_v2(Bucket=bucket["Name"]).get("Contents", ()):
            client.delete_object(Bucket=bucket["Name"], Key=one["Key"])
        client.delete_bucket(Bucket=bucket["Name"])
    client.create_bucket(Bucket="models")
    for key, data in {
        "a/evil.pkl": EVIL,
        "a/plain.pkl": PLAIN,
        "b/model.onnx": onnx_model(),
        "b/odd": b"\xfe" * 90,
    }.items():
        client.put_object(Bucket="models", Key=key, Body=data)
    return client


def scanned(url: str) -> dict[str, Report]:
    with Scanner(RunSettings(jobs=2)) as scanner:
        reports = {report.name: report for report in pool.scan_bucket(url, pool.Bench(scanner))}
    reports.pop(url.rstrip("/"), None) if len(reports) > 1 else None  # what stands between the objects
    return reports


@pytest.mark.usefixtures("client")
def test_each_object_below_a_prefix_gets_its_verdict_and_digest() -> None:
    found = scanned("s3://models")
    assert {name: report.outcome for name, report in found.items()} == {
        "s3://models/a/evil.pkl": Outcome.BLOCK,
        "s3://models/a/plain.pkl": Outcome.PASS,
        "s3://models/b/model.onnx": Outcome.PASS,
        "s3://models/b/odd": Outcome.INCOMPLETE,
    }
    assert all(report.digest.startswith("sha256:") for report in found.values())
    assert scanned("s3://models/a/").keys() == {"s3://models/a/evil.pkl", "s3://models/a/plain.pkl"}
    assert scanned("s3://models/a/evil.pkl").keys() == {"s3://models/a/evil.pkl"}


@pytest.mark.usefixtures("client")
@pytest.mark.parametrize(
    ("url", "kind", "code"),
    [
        ("s3://models/nothing/here", NotFound, "object-missing"),
        ("s3://no-such-bucket", Unavailable, "bucket-unavailable"),
        ("ftp://models/a", Invalid, "bucket-url"),
        ("s3://", Invalid, "bucket-url"),
    ],
)
def test_what_is_not_there_is_told(url: str, kind: type[Exception], code: str) -> None:
    with pytest.raises(kind) as caught:
        scanned(url)
    assert caught.value.code == code  # type: ignore[attr-defined]  # of the kind just asked for


def test_an_object_that_is_replaced_meanwhile_is_seen() -> None:
    store = MemoryStore()
    obstore.put(store, "m", LONG)
    (meta,) = obstore.list(store).collect()
    source = ObjectSource(store, Listed("m", meta["size"], meta["e_tag"] or ""), "memory/m")
    assert source.read_at(0, 4) == LONG[:4]
    obstore.put(store, "m", EVIL)
    assert source.read_at(2, 2) == LONG[2:4]  # kept from before
    for act in (lambda: source.read_at(5 << 20, 8), lambda: list(source.chunks())):
        with pytest.raises(Conflict) as caught:
            act()
        assert caught.value.code == "object-changed"
    obstore.delete(store, "m")
    with pytest.raises(NotFound):
        source.read_at(5 << 20, 8)


def test_ranges_are_those_of_the_object() -> None:
    store = MemoryStore()
    obstore.put(store, "m", LONG)
    source = ObjectSource(store, Listed("m", len(LONG), ""), "memory/m")
    for offset, length in (
        (0, 0),
        (0, 10),
        ((1 << 20) - 3, 7),
        (5, 3 << 20),
        (len(LONG) - 2, 100),
        (len(LONG), 5),
        (3, 9 << 20),
    ):
        assert source.read_at(offset, length) == LONG[offset : offset + length]
    assert b"".join(source.chunks()) == LONG


@pytest.mark.usefixtures("client")
def test_the_command_scans_a_bucket(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["scan", "s3://models/a", "--format", "json"])
    said = json.loads(capsys.readouterr().out)
    assert ended.value.code == 1
    assert {one["name"] for one in said["reports"]} >= {"s3://models/a/evil.pkl", "s3://models/a/plain.pkl"}


@pytest.mark.usefixtures("client")
def test_an_object_that_cannot_be_read_is_undecided_and_the_others_go_on(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ObjectSource.chunks

    def replaced(self: ObjectSource) -> Iterator[bytes]:
        if self.name.endswith("plain.pkl"):
            client.put_object(Bucket="models", Key="a/plain.pkl", Body=b"another")
        return whole(self)

    monkeypatch.setattr(ObjectSource, "chunks", replaced)
    found = scanned("s3://models/a")
    assert rules_of(found["s3://models/a/plain.pkl"]) == {"path-changed"}
    assert found["s3://models/a/evil.pkl"].outcome is Outcome.BLOCK


def test_an_object_without_a_version_is_undecided() -> None:
    """Its digest and its scan could be of two different objects."""
    store = MemoryStore()
    obstore.put(store, "m", PLAIN)
    bundle = Bundle("memory", {"m": ObjectSource(store, Listed("m", len(PLAIN), ""), "memory/m")})
    with Scanner(RunSettings(jobs=1)) as scanner:
        seen = scan_object(pool.Bench(scanner), Work(Path(), "memory/m", "m"), bundle)
    assert seen.report is not None
    assert (seen.report.outcome, rules_of(seen.report)) == (Outcome.INCOMPLETE, {"path-unreadable"})
