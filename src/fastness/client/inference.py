"""Call a served model by the Open Inference Protocol v2."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import msgspec

from fastness.client.transport import ClientCertificate, HttpTransport, Reply, Transport
from fastness.core.errors import Unavailable
from fastness.wire import oip, problems

if TYPE_CHECKING:
    import numpy as np

    from fastness.client.signing import RequestSigner


_WAIT_S, _LONGEST_WAIT_S = 0.2, 2.0


@dataclass(frozen=True, slots=True)
class InferResult:
    """Outputs by name, and which version gave them."""

    outputs: dict[str, np.ndarray]
    model: str
    version: str
    request_id: str


class Client:
    """A caller of models.

    Args:
        url: `https://HOST:PORT` of a gateway.
        key: an API key, `fst_…`; or a certificate, or a key to sign requests with, which send no secret.
        ca: PEM file of the house's certificate authority, `tls/ca.pem` in its home folder.
        timeout_s: for connecting and for each read.
        transport: instead of `url`, for tests and other carriers.
        retries: how often a call that met 503 is made again, after as long as the answer says (at most 2 s).

    Example:
        >>> client = Client("https://127.0.0.1:8443", key, ca="ca.pem")   # doctest: +SKIP
        >>> client.infer("digits", {"X": pixels}).outputs["label"]        # doctest: +SKIP
        >>> Client(url, ClientCertificate(Path("web.pem"), Path("web.key")), ca="ca.pem")   # doctest: +SKIP
        >>> Client(url, RequestSigner.from_file("web.key"), ca="ca.pem")                     # doctest: +SKIP
    """

    def __init__(
        self,
        url: str,
        key: str | ClientCertificate | RequestSigner,
        ca: str | Path | None = None,
        timeout_s: float = 30.0,
        transport: Transport | None = None,
        *,
        retries: int = 2,
    ) -> None:
        certificate = key if isinstance(key, ClientCertificate) else None
        self._transport = transport or HttpTransport(url, Path(ca) if ca else None, timeout_s, certificate)
        self._retries = retries
        self._authorization = {"authorization": f"Bearer {key}"} if isinstance(key, str) else {}
        if not isinstance(key, str | ClientCertificate):
            from fastness.client.signing import SignedTransport  # which needs a library that callers by key do not

            self._transport = SignedTransport(self._transport, key, url)

    def infer(
        self,
        model: str,
        inputs: Mapping[str, np.ndarray],
        version: int | None = None,
        *,
        binary: bool = True,
    ) -> InferResult:
        """Outputs of `model` for `inputs`.

        Args:
            inputs: arrays by input name; the first axis is the batch.
            version: a version; None takes the one in service.
            binary: tensors as raw bytes (about 200 times cheaper than JSON for large ones).

        Raises:
            FastnessError: of the kind of the server's answer, with its code and hint; Unavailable if nobody answers.
        """
        body, headers = oip.encode_request(inputs, binary=binary)
        path = f"/v2/models/{model}" + (f"/versions/{version}" if version is not None else "") + "/infer"
        reply, data = self._infer(path, {**headers, **self._authorization}, body)
        if reply.status != 200:
            raise problems.decode(reply.status, data, reply.headers)
        answer = oip.decode_response(data, reply.headers.get("inference-header-content-length"))
        return InferResult(
            answer.outputs, answer.model_name, answer.model_version, reply.headers.get("x-request-id", "")
        )

    def _infer(self, path: str, headers: Mapping[str, str], body: bytes) -> tuple[Reply, bytes]:
        """Ask, and ask again while the house is busy: inference changes nothing."""
        left = self._retries
        while True:
            reply = self._transport.send("POST", path, headers, body)
            data = reply.read()
            if reply.status != Unavailable.status or left <= 0:
                return reply, data
            left -= 1
            advised = reply.headers.get("retry-after", "")
            time.sleep(min(float(advised), _LONGEST_WAIT_S) if advised.isascii() and advised.isdigit() else _WAIT_S)

    def metadata(self, model: str, version: int | None = None) -> dict[str, object]:
        """Name, versions, inputs and outputs of `model`, as the protocol gives them.

        Raises:
            FastnessError: of the kind of the server's answer.
        """
        path = f"/v2/models/{model}" + (f"/versions/{version}" if version is not None else "")
        reply = self._transport.send("GET", path, self._authorization)
        data = reply.read()
        if reply.status != 200:
            raise problems.decode(reply.status, data, reply.headers)
        return msgspec.json.decode(data, type=dict[str, object])

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


__all__ = ["Client", "InferResult"]
