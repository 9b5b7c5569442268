"""The vault against its own parts and against `model_signing verify key`, in CPU seconds, all in one run.

Method: the bytes are random and in memory; each figure is the best of several rounds, and the rounds of what is compared
alternate. `thread_time` counts the CPU of this thread in user and kernel; the peer's process is counted by its resource
usage. Stored and loaded through FileBlobs in the system's memory folder, so that no disk is measured.

- store: SHA-256 and sealing in one pass, what is made is dropped; against the serial bound 1 / (1/SHA-256 + 1/AES-GCM).
- container: FLOE segments opened from memory into memory; against raw AES-256-GCM `decrypt_into` of 256 KiB pieces.
- load: `Vault.open` and `read_into` from a file; against raw AES-256-GCM after the same reads of the same file.
- peer: the whole load against `model_signing verify key` on a file of the same bytes, interpreter start-up included, and
  with the peer's start-up (the time for a file of one byte) taken off. The peer is installed into .env-peers by pip.

Caveats: the load also beats the peer because it hashes nothing: the AEAD tags say that these are the bytes taken in, and
their SHA-256 was compared with the signed manifest then. A signature over a file outside the vault needs the peer's way.
"load against memory" shows what the reads cost (a system call and a copy a byte; no mapping, see segments.py) and has no
target; neither has the store with the file system's own work in it. On virtual machines the first touch of memory is
dear and rates move by half between runs: compare ratios inside one run only.

    python benchmarks/vault.py [--quick] [--no-peer]
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from fastness.core.clock import SystemClock, system_entropy
from fastness.core.digests import BlobId
from fastness.core.identity import SYSTEM_SCOPE
from fastness.core.secrets import SecretBytes
from fastness.core.sources import Buffer, BytesSource
from fastness.foundation.crypto import SealedKeyRing, floe
from fastness.foundation.storage import FileBlobs
from fastness.foundation.vault import Candidate, Vault

ROOT = Path(__file__).resolve().parents[1]
PEER = ROOT / ".env-peers" / "model-signing"
PEER_PACKAGES = ["model-signing==1.1.1", "pyOpenSSL==26.4.0"]  # which its command line imports and does not declare
SEGMENT = 1 << 18
STEP = SEGMENT - 32
STORE, CONTAINER, LOAD, TIMES_PEER = 0.90, 0.80, 0.80, 4.0


class Nowhere:
    """Blobs that are made and dropped: what is left is the vault's own work."""

    def put(self, id: BlobId, chunks: Iterable[Buffer]) -> None:  # noqa: A002
        for _ in chunks:
            pass

    def read_into(self, id: BlobId, offset: int, into: Buffer) -> int:  # noqa: A002
        raise NotImplementedError

    def size(self, id: BlobId) -> int:  # noqa: A002
        raise NotImplementedError

    def delete(self, id: BlobId) -> None:  # noqa: A002
        raise NotImplementedError

    def ids(self, after: BlobId | None = None) -> Iterator[BlobId]:
        yield from ()


class Raw:
    """The primitives alone, over the same bytes in pieces of a segment."""

    def __init__(self, data: memoryview, target: memoryview) -> None:
        self.data = data
        self.target = target
        self.cipher = AESGCM(os.urandom(32))
        self.pieces = [(at, min(at + STEP, len(data))) for at in range(0, len(data), STEP)]
        self.sealed = memoryview(bytearray(len(data) + 16 * len(self.pieces)))
        self._out = memoryview(bytearray(SEGMENT))
        self.places = []
        at = 0
        for start, end in self.pieces:
            self.cipher.encrypt_into(bytes(12), data[start:end], None, self.sealed[at : at + end - start + 16])
            self.places.append((at, at + end - start + 16))
            at += end - start + 16

    def sha256(self) -> None:
        state = hashlib.sha256()
        for start, end in self.pieces:
            state.update(self.data[start:end])

    def seal(self) -> None:
        for start, end in self.pieces:
            self.cipher.encrypt_into(os.urandom(12), self.data[start:end], None, self._out[: end - start + 16])

    def open(self) -> None:
        for (start, end), (first, last) in zip(self.pieces, self.places, strict=True):
            self.cipher.decrypt_into(bytes(12), self.sealed[first:last], None, self.target[start:end])


class RawFile:
    """Raw AES-GCM after reads of the same sizes from a file of the same size."""

    def __init__(self, raw: Raw, blobs: FileBlobs) -> None:
        self._raw = raw
        self._blobs = blobs
        self._blob = BlobId("f" * 64)
        self._buffer = memoryview(bytearray(4 * (STEP + 16)))
        blobs.put(self._blob, (raw.sealed[at : at + SEGMENT] for at in range(0, len(raw.sealed), SEGMENT)))

    def write(self) -> None:
        """Writes of the same sizes as the vault's, and the deletion."""
        blob = BlobId("e" * 64)
        self._blobs.put(blob, (self._raw.sealed[first:last] for first, last in self._raw.places))
        self._blobs.delete(blob)

    def open(self) -> None:
        raw, group = self._raw, 4
        for number in range(0, len(raw.places), group):
            places = raw.places[number : number + group]
            base = places[0][0]
            self._blobs.read_into(self._blob, base, self._buffer[: places[-1][1] - base])
            for (start, end), (first, last) in zip(raw.pieces[number : number + group], places, strict=True):
                raw.cipher.decrypt_into(
                    bytes(12), self._buffer[first - base : last - base], None, raw.target[start:end]
                )


class Container:
    """A FLOE container in memory."""

    def __init__(self, raw: Raw) -> None:
        key = SecretBytes(os.urandom(32))
        writer = floe.FloeWriter(key, b"benchmark", system_entropy)
        self._reader = floe.FloeReader(key, b"benchmark", writer.header)
        self._raw = raw
        self._sealed = memoryview(bytearray(len(raw.data) + 32 * len(raw.pieces)))
        for number, (start, end) in enumerate(raw.pieces):
            last = number == len(raw.pieces) - 1
            writer.seal_into(raw.data[start:end], last, self._sealed[number * SEGMENT : (number + 1) * SEGMENT])

    def open(self) -> None:
        count = len(self._raw.pieces)
        for number, (start, end) in enumerate(self._raw.pieces):
            sealed = self._sealed[number * SEGMENT : (number + 1) * SEGMENT]
            self._reader.open_into(sealed, number, number == count - 1, self._raw.target[start:end])


def best(rounds: int, acts: dict[str, Callable[[], object]]) -> dict[str, float]:
    """CPU seconds of each act; the rounds alternate."""
    found = dict.fromkeys(acts, float("inf"))
    for _ in range(rounds):
        for name, act in acts.items():
            start = time.thread_time()
            act()
            found[name] = min(found[name], time.thread_time() - start)
    return found


def told(name: str, seen: float, target: float, unit: str = "%") -> bool:
    """Print one figure against its target."""
    met = seen >= target
    shown = (
        f"{100 * seen:.0f} %, target >= {100 * target:.0f} %" if unit == "%" else f"{seen:.1f}x, target >= {target:g}x"
    )
    print(f"{'PASS' if met else 'MISS'}  {name}: {shown}")
    return met


def install_peer() -> str:
    """Make the peer's environment where it is missing; why it cannot be made, or nothing."""
    python = str(PEER / "bin" / "python")
    try:
        if not Path(python).exists():
            venv.create(PEER, with_pip=True)
        if subprocess.run([python, "-c", "import model_signing, OpenSSL"], check=False, capture_output=True).returncode:
            line = [python, "-m", "pip", "install", "--quiet", *PEER_PACKAGES]
            done = subprocess.run(line, check=False, capture_output=True, text=True, timeout=600)
            return f"pip failed: {done.stderr.strip().splitlines()[-1:]}" if done.returncode else ""
    except (OSError, subprocess.SubprocessError) as error:
        return f"its environment cannot be made: {error}"
    return ""


def peer_seconds(folder: Path, content: memoryview, rounds: int) -> float:
    """CPU seconds of `model_signing verify key` on a model of one file; the best of the rounds."""
    model, signature = folder / "model", folder / "model.sig"
    model.mkdir(parents=True)
    (model / "weights.bin").write_bytes(content)
    key = ec.generate_private_key(ec.SECP256R1())
    (folder / "key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (folder / "pub").write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    program = [str(PEER / "bin" / "python"), "-m", "model_signing"]
    sign = [*program, "sign", "key", "--private_key", str(folder / "key"), "--signature", str(signature), str(model)]
    subprocess.run(sign, check=True, capture_output=True)
    verify = [*program, "verify", "key", "--public_key", str(folder / "pub"), "--signature", str(signature), str(model)]
    seen = []
    for _ in range(rounds):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(verify, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seen.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(seen)


def measure(folder: Path, size: int, rounds: int, *, peer: bool) -> bool:
    """Print all figures; whether every target is met."""
    data = memoryview(bytearray(os.urandom(1 << 20) * (size >> 20)))
    raw = Raw(data, memoryview(bytearray(size)))
    ring, now = SealedKeyRing.in_memory(system_entropy), SystemClock().now()
    blobs = FileBlobs(folder / "blobs")
    nowhere, vault = Vault(Nowhere(), ring, system_entropy), Vault(blobs, ring, system_entropy)
    kept = vault.intake(BytesSource("model", data), SYSTEM_SCOPE, now)
    in_file, container = RawFile(raw, blobs), Container(raw)

    def store_in_file() -> None:
        vault.discard(vault.intake(BytesSource("model", data), SYSTEM_SCOPE, now))

    found = best(
        rounds,
        {
            "SHA-256": raw.sha256,
            "AES-256-GCM seal": raw.seal,
            "store": lambda: nowhere.intake(BytesSource("model", data), SYSTEM_SCOPE, now),
            "the same writes alone": in_file.write,
            "store into a file": store_in_file,
            "AES-256-GCM open": raw.open,
            "container open": container.open,
            "AES-256-GCM open after the same reads": in_file.open,
            "load": lambda: load(vault, kept, raw.target),
        },
    )
    if raw.target != data:
        sys.exit("what was loaded is not what was stored")
    for name, seconds in found.items():
        print(f"      {name}: {size / seconds / 1e9:.2f} GB per CPU second")
    bound = found["SHA-256"] + found["AES-256-GCM seal"]
    with_writes = bound + found["the same writes alone"]
    print(f"      store into a file, of the serial bound: {100 * bound / found['store into a file']:.0f} %")
    print(
        f"      store into a file, of the bound with those writes: {100 * with_writes / found['store into a file']:.0f} %"
    )
    print(f"      load, of AES-256-GCM in memory: {100 * found['AES-256-GCM open'] / found['load']:.0f} %")
    met = told("store, of the serial bound of SHA-256 and AES-256-GCM", bound / found["store"], STORE)
    met &= told("container, of raw AES-256-GCM", found["AES-256-GCM open"] / found["container open"], CONTAINER)
    same_reads = found["AES-256-GCM open after the same reads"]
    met &= told("load, of raw AES-256-GCM after the same reads", same_reads / found["load"], LOAD)
    return met & against_peer(folder, data, found["load"], rounds) if peer else met


def against_peer(folder: Path, data: memoryview, load_s: float, rounds: int) -> bool:
    """Compare with `model_signing verify key`; true where it cannot be installed, which is said."""
    problem = install_peer()
    if problem:
        print(f"SKIP  model_signing: {problem}")
        return True
    whole = peer_seconds(folder / "peer", data, min(rounds, 3))
    start_up = peer_seconds(folder / "peer-of-one-byte", data[:1], min(rounds, 3))
    print(f"      model_signing verify key: {whole:.2f} CPU s, of which start-up {start_up:.2f}; load {load_s:.2f}")
    print(f"      load against the peer without its start-up: {(whole - start_up) / load_s:.1f}x")
    return told("load against model_signing verify key", whole / load_s, TIMES_PEER, "x")


def load(vault: Vault, candidate: Candidate, target: memoryview) -> None:
    """Open and read the whole."""
    with vault.open(candidate) as segments:
        segments.read_into(target)


def main() -> None:
    """Print the figures; exit status 1 if one is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="64 MiB instead of 1 GiB, fewer rounds")
    parser.add_argument("--no-peer", action="store_true", help="do not install or run model_signing")
    asked = parser.parse_args()
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None, prefix="fastness-bench-") as folder:
        size, rounds = (1 << 26, 3) if asked.quick else (1 << 30, 5)
        print(f"      {size >> 20} MiB, best of {rounds} rounds, segments of {SEGMENT >> 10} KiB")
        met = measure(Path(folder), size, rounds, peer=not asked.no_peer)
    sys.exit(not met)


if __name__ == "__main__":
    main()
