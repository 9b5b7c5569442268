"""Step 1 of the request path: what may be asked at all, judged on the request line and the headers in one pass.

Nothing is repaired: an unknown path, another method, two hosts or an unread encoding are refused, not guessed at.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fastness.core.errors import Invalid, NotFound, TooLarge
from fastness.gateway.settings import GatewaySettings
from fastness.wire import oip

_ONCE = frozenset(
    {
        b"host",
        b"authorization",
        b"content-type",
        b"content-length",
        b"content-encoding",
        b"transfer-encoding",
        b"inference-header-content-length",
        b"signature",
        b"signature-input",
    }
)
_NAME = rb"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?"
_MODEL = re.compile(
    rb"/v2/models/(?P<name>" + _NAME + rb")(?:/versions/(?P<version>[1-9][0-9]{0,8}))?(?:/(?P<what>infer|ready))?"
)
FIXED = {
    b"/v2": "server",
    b"/v2/health/live": "live",
    b"/v2/health/ready": "ready",
    b"/healthz": "live",
    b"/readyz": "ready",
    b"/metrics": "metrics",
}
MODEL_PATHS = {
    "/v2/models/{model}": "model",
    "/v2/models/{model}/versions/{version}": "model",
    "/v2/models/{model}/ready": "model-ready",
    "/v2/models/{model}/versions/{version}/ready": "model-ready",
    "/v2/models/{model}/infer": "infer",
    "/v2/models/{model}/versions/{version}/infer": "infer",
}
PROBES = frozenset({"live", "ready", "server"})
_KEPT = 4096


@dataclass(frozen=True, slots=True)
class Target:
    """What a path names.

    Attributes:
        name: of the gateway's own route; also what events and metrics call it.
        model, version: empty and 0 where the path names none.
        key: of the route in the snapshot.
    """

    name: str
    method: str = "GET"
    model: str = ""
    version: int = 0
    key: str = ""


class Head:
    """The headers that matter, each at most once.

    Attributes:
        signed: the request says that it is signed.
    """

    __slots__ = ("authorization", "content_length", "json_length", "signed")

    def __init__(
        self, found: Mapping[bytes, bytes], content_length: int | None = None, json_length: int | None = None
    ) -> None:
        self.authorization = found.get(b"authorization")
        self.signed = b"signature-input" in found or b"signature" in found
        self.content_length = content_length
        self.json_length = json_length


class Paths:
    """Paths to targets; what was looked up lately is remembered, and no more than a fixed number of them."""

    def __init__(self) -> None:
        self._known: dict[bytes, Target] = {}

    def find(self, path: bytes) -> Target:
        """The target of `path`, compared byte by byte: escapes, dots and double slashes name nothing.

        Raises:
            NotFound: there is none.
        """
        found = self._known.get(path)
        if found is not None:
            return found
        found = _parse(path)
        if len(self._known) >= _KEPT:
            self._known.clear()
        self._known[path] = found
        return found


def _parse(path: bytes) -> Target:
    if path in FIXED:
        return Target(FIXED[path])
    match = _MODEL.fullmatch(path)
    if match is None or b".." in path:
        raise NotFound("path-unknown", "nothing is served at this path", "Models are at /v2/models/NAME/infer.")
    model = match["name"].decode()
    version = int(match["version"] or 0)
    key = f"{model}/{version}" if version else model
    what = (match["what"] or b"model").decode()
    name = "model-ready" if what == "ready" else what
    return Target(name, "POST" if what == "infer" else "GET", model, version, key)


def read_head(scope: Mapping[str, Any], target: Target, settings: GatewaySettings) -> Head:
    """The head of a request for `target`, if it may be asked like this.

    Raises:
        Invalid: another method, type or encoding, a missing or repeated header, a query.
        TooLarge: it announces more than is read.
    """
    if scope["method"] != target.method:
        raise Invalid(
            "method-not-allowed", f"{target.name} is not asked by this method", f"Use the method {target.method}."
        )
    found = _once(scope["headers"])
    if not found.get(b"host"):
        raise Invalid("host-missing", "the request has no Host header", "Send one Host header.")
    if scope["query_string"]:
        raise Invalid("query-unexpected", "no path here takes a query", "Leave out what follows the question mark.")
    length = _length(found)
    if target.method == "GET":
        if length or b"transfer-encoding" in found:
            raise Invalid("body-unexpected", f"{target.name} takes no body", "Send none.")
        return Head(found)
    json_length = oip.parse_length(found.get(b"inference-header-content-length"))
    _check_type(found, json_length)
    limit = settings.max_json_bytes if json_length is None else settings.max_body_bytes
    if length is not None and length > limit:
        raise too_large(limit)
    return Head(found, length, json_length)


def _once(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in _ONCE:
            if name in found:
                raise Invalid("header-duplicate", f"the header {name.decode()} came twice", "Send it once.")
            found[name] = value
    return found


def _length(found: Mapping[bytes, bytes]) -> int | None:
    if found.get(b"transfer-encoding", b"chunked").lower() != b"chunked":
        raise Invalid("http-malformed", "the transfer coding is not known", "Send chunked, or Content-Length.")
    text = found.get(b"content-length")
    if text is None:
        return None
    if not text.isdigit() or len(text) > 18 or b"transfer-encoding" in found:
        raise Invalid(
            "http-malformed", "the length of the body is not clear", "Send Content-Length or chunks, not both."
        )
    return int(text)


def _check_type(found: Mapping[bytes, bytes], json_length: int | None) -> None:
    kind = found.get(b"content-type", b"")
    if kind != b"application/json" and kind != b"application/octet-stream":  # noqa: PLR1714 - twice as fast as a set
        kind, _, parameter = kind.lower().partition(b";")
        if kind.strip() != b"application/json" or parameter.strip() not in {b"", b"charset=utf-8"}:
            raise Invalid(
                "media-type",
                "the body's type is not one that is read here",
                "Send Content-Type: application/json, or application/octet-stream with Inference-Header-Content-Length.",
            )
    if kind == b"application/octet-stream" and json_length is None:
        raise Invalid(
            "media-type",
            "a binary body needs Inference-Header-Content-Length",
            "Send the length of the JSON part in that header.",
        )
    if found.get(b"content-encoding", b"identity") != b"identity":
        raise Invalid("content-encoding", "compressed bodies are not read", "Send the body as it is.")


def too_large(limit: int) -> TooLarge:
    """The refusal of a body of more than `limit` bytes."""
    return TooLarge(
        "body-too-large",
        f"the body is larger than {limit} bytes",
        "Send fewer rows at once; binary tensors may be larger than JSON.",
    )
