"""Every limit of the gateway."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, fields

from fastness.core.settings import InvalidSetting


@dataclass(frozen=True)
class GatewaySettings:
    """Settings of the gateway. All are above 0, unless said otherwise.

    Attributes:
        max_connections: open at once; further ones are answered 503 and closed.
        header_deadline_s: for each request line and its headers, from the first byte; and for the first byte of a connection.
        max_header_bytes: of the request line and all headers, and of the trailers of a chunked body.
        max_headers: how many of them.
        body_deadline_s: for a whole body.
        min_body_rate: bytes a second that a body must bring on average, after `body_grace_s`.
        body_grace_s: how long a body may be slower than that.
        max_body_bytes: of a body with binary tensors.
        max_json_bytes: of JSON, which costs up to 16 times its size in memory while it is read.
        max_inflight_bytes: of all bodies held at once.
        keep_alive_s: how long a connection may be idle between two requests.
        reply_deadline_s: from a whole request until its reply was taken.
        linger_s: how long a refused body is read and thrown away, so that the refusal reaches who is still sending.
        predict_timeout_s: for the model's answer.
        retry_after_s: what 503 answers advise.
        sync_interval_s: how often recorded events are synced to the disk; a power cut may take what is younger.
        allow_review: let pass what a stage wants reviewed; visible in the event. Off refuses it.
        access_log: a line a request, to the logger `fastness.access`.
        probes: networks that may ask for health without a key; from elsewhere it takes one.
    """

    max_connections: int = 1024
    header_deadline_s: float = 5.0
    max_header_bytes: int = 16 * 1024
    max_headers: int = 100
    body_deadline_s: float = 60.0
    min_body_rate: int = 4096
    body_grace_s: float = 2.0
    max_body_bytes: int = 16 << 20
    max_json_bytes: int = 4 << 20
    max_inflight_bytes: int = 256 << 20
    keep_alive_s: float = 30.0
    reply_deadline_s: float = 60.0
    linger_s: float = 2.0
    predict_timeout_s: float = 10.0
    retry_after_s: int = 1
    sync_interval_s: float = 0.01
    allow_review: bool = False
    access_log: bool = False
    probes: tuple[str, ...] = ("127.0.0.0/8", "::1/128")

    def __post_init__(self) -> None:
        try:
            self.probe_networks  # noqa: B018 - reads them all
        except ValueError as error:
            raise InvalidSetting("gateway.probes", f"is a list of networks such as 10.0.0.0/8: {error}") from error
        for each in fields(self):
            value = getattr(self, each.name)
            if not isinstance(value, bool) and isinstance(value, int | float) and not 0 < value < float("inf"):
                raise InvalidSetting(f"gateway.{each.name}", "is above 0 and finite")
        if self.max_json_bytes > self.max_body_bytes or self.max_body_bytes > self.max_inflight_bytes:
            raise InvalidSetting("gateway.max_body_bytes", "lies between max_json_bytes and max_inflight_bytes")

    @property
    def probe_networks(self) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
        """`probes`, read. Raises ValueError."""
        return tuple(ipaddress.ip_network(text) for text in self.probes)
