"""Buckets as folders: objects are listed once and read in ranges; nothing of them is written to this machine.

Every read names the version of the object that was listed, so that what is scanned and what is hashed is one thing, and
an object that was replaced meanwhile is incomplete. Credentials, endpoint and region come from the environment that the
provider's own tools use.

Cost: each object is read once for its digest, and what readers look at once more.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from fastness.core.digests import Digest
from fastness.core.errors import Conflict, FastnessError, Invalid, NotFound, Unavailable
from fastness.core.findings import Finding, judge
from fastness.core.sources import RandomAccess
from fastness.models.scan.bundles import Bundle
from fastness.models.scan.facts import found
from fastness.models.scan.files import Bench, Work, key_of_work
from fastness.models.scan.isolated import Place, Seen, unreadable
from fastness.models.scan.report import Report
from fastness.models.scan.rules import PATH_CHANGED, UNREADABLE

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ObjectStore

URL = re.compile(r"(s3|gs|az|abfss?)://[^/\s?#]+(/[^?#]*)?", re.IGNORECASE)
_BLOCK = 1 << 20
_BLOCKS = 8
_STREAMED = 8 << 20


@dataclass(frozen=True, slots=True)
class Listed:
    """An object as the listing told of it."""

    key: str
    size: int
    etag: str


class ObjectSource:
    """One version of one object, as `RandomAccess`; what was read last is kept, 8 MiB at most."""

    def __init__(self, store: ObjectStore, listed: Listed, name: str) -> None:
        self.name = name
        self._store = store
        self._listed = listed
        self._kept: OrderedDict[int, bytes] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        """Length in bytes."""
        return self._listed.size

    @property
    def version(self) -> str:
        """What the bucket calls these bytes; empty where it has no name for them."""
        return self._listed.etag

    def read_at(self, offset: int, length: int) -> bytes:
        """The bytes from `offset`.

        Raises:
            Conflict: the object is not the one that was listed.
            NotFound: it is gone.
            Unavailable: the bucket does not answer.
        """
        end = min(offset + length, self.size)
        if offset >= end:
            return b""
        if length > _BLOCKS * _BLOCK:
            return self._fetched(offset, end)
        first, last = offset // _BLOCK, (end - 1) // _BLOCK
        whole = b"".join(self._block(number) for number in range(first, last + 1))
        return whole[offset - first * _BLOCK : end - first * _BLOCK]

    def chunks(self) -> Iterator[bytes]:
        """All of it, in order, in one request.

        Raises:
            Conflict, NotFound, Unavailable: as `read_at`.
        """
        if not self.size:
            return
        with _translated(self._listed.key):
            for piece in self._get({}).stream(min_chunk_size=_STREAMED):
                yield bytes(piece)

    def _block(self, number: int) -> bytes:
        with self._lock:
            if number not in self._kept:
                start = number * _BLOCK
                self._kept[number] = self._fetched(start, min(start + _BLOCK, self.size))
                if len(self._kept) > _BLOCKS:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(number)
            return self._kept[number]

    def _fetched(self, start: int, end: int) -> bytes:
        with _translated(self._listed.key):
            data = bytes(self._get({"range": (start, end)}).bytes())
        if len(data) != end - start:
            raise Unavailable("bucket-short", f"{self.name}: {len(data)} bytes came where {end - start} were asked for")
        return data

    def _get(self, options: dict[str, Any]) -> Any:  # what obstore gives back has no public name
        if self._listed.etag:
            options = options | {"if_match": self._listed.etag}
        return self._store.get(self._listed.key, options=options)  # type: ignore[arg-type]  # GetOptions is a TypedDict


class _translated:  # noqa: N801 - used like a function
    """obstore's errors as ours."""

    def __init__(self, key: str) -> None:
        self._key = key

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        from obstore import exceptions

        if isinstance(error, exceptions.PreconditionError):
            raise Conflict(
                "object-changed", f"{self._key} is not what it was when it was listed", "Scan it again."
            ) from error
        if isinstance(error, exceptions.NotFoundError | FileNotFoundError):
            raise NotFound("object-missing", f"{self._key} is gone", "Scan the bucket again.") from error
        if isinstance(error, exceptions.BaseError):
            said = str(error).partition("\n")[0][:200]
            raise Unavailable(
                "bucket-unavailable", f"the bucket does not answer: {said}", "Check credentials and address."
            ) from error


class _Objects(Mapping[str, RandomAccess]):
    """Sources by path below the prefix."""

    def __init__(self, store: ObjectStore, url: str, listed: Mapping[str, Listed]) -> None:
        self._store = store
        self._url = url
        self._listed = listed

    def __getitem__(self, path: str) -> ObjectSource:
        return ObjectSource(self._store, self._listed[path], f"{self._url}/{path}")

    def __iter__(self) -> Iterator[str]:
        return iter(self._listed)

    def __len__(self) -> int:
        return len(self._listed)


def _store(url: str) -> ObjectStore:
    if not URL.fullmatch(url):
        raise Invalid("bucket-url", f"{url[:200]!a} is no bucket", "Give s3://BUCKET/PREFIX, gs://… or az://….")
    try:
        from obstore.store import from_url
    except ImportError as error:
        raise Unavailable(
            "bucket-library", "buckets need a library that is not installed", "Install fastness[cloud]."
        ) from error
    with _translated(url):
        return from_url(url.rstrip("/"))


def bucket(url: str) -> Bundle:
    """The objects below a prefix, or the one object that an address names.

    Raises:
        Invalid: no such kind of address.
        NotFound: nothing is there.
        Unavailable: the bucket does not answer, or the library for it is not installed.
    """
    whole = url.rstrip("/")
    store = _store(whole)
    with _translated(whole):
        listed = {meta["path"]: _told(meta) for page in store.list() for meta in page}
        if listed:
            return Bundle(whole, _Objects(store, whole, dict(sorted(listed.items()))))
        parent, _, key = whole.rpartition("/")
        if not URL.fullmatch(parent):
            raise NotFound("bucket-empty", f"nothing is in {whole}", "Check the bucket's name.")
        store = _store(parent)
        return Bundle(parent, _Objects(store, parent, {key: _told(store.head(key))}))


def _told(meta: ObjectMeta) -> Listed:
    return Listed(meta["path"], meta["size"], meta["e_tag"] or "")


def scan_object(bench: Bench, work: Work, bundle: Bundle) -> Seen:
    """What came of one object, with its digest; one that cannot be read is undecided, and the others go on."""
    source = bundle.source(work.path)
    if not isinstance(source, ObjectSource) or not source.version:
        problem = "the bucket names no version of it, so that what is scanned could be another than what is hashed"
        return Seen(_refused(work, found(UNREADABLE, work.name, 0, problem)))
    try:
        digest = _digest(source, bench)
        key = key_of_work(bench, digest, work)
        seen = bench.cache.take(key, work.name, bundle) if bench.cache is not None else None
        if seen is None:
            seen = bench.scanner.scan_placed(source, bench.bounds, Place(bundle, work.path, work.readers))
            if bench.cache is not None:
                bench.cache.keep(key, seen)
    except Conflict as error:
        return Seen(_refused(work, found(PATH_CHANGED, work.name, 0, error.message)))
    except (NotFound, Unavailable) as error:
        return Seen(_refused(work, found(UNREADABLE, work.name, 0, error.message)))
    except OSError as error:
        return Seen(unreadable(work.name, error))
    return replace(seen, report=replace(seen.report, digest=digest)) if seen.report is not None else seen


def _digest(source: ObjectSource, bench: Bench) -> Digest:
    state, length = hashlib.sha256(), 0
    for piece in source.chunks():
        if bench.stop.is_set():
            raise FastnessError("scan-stopped", "the scan was stopped")
        state.update(piece)
        length += len(piece)
        bench.advance(len(piece))
    if length != source.size:
        raise Conflict("object-changed", f"{source.name}: {length} bytes came where {source.size} were listed")
    return Digest(f"sha256:{state.hexdigest()}")


def _refused(work: Work, finding: Finding) -> Report:
    return Report(work.name, 0, (), judge([finding]), 0)
