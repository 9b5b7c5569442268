"""Call a served model by the Open Inference Protocol v2."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import msgspec

from fastness.client.transport import HttpTransport, Transport
from fastness.wire import oip, problems

if TYPE_CHECKING:
    import numpy as np


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
        key: an API key, `fst_…`.
        ca: PEM file of the house's certificate authority, `tls/ca.pem` in its home folder.
        timeout_s: for connecting and for each read.
        transport: instead of `url`, for tests and other carriers.

    Example:
        >>> client = Client("https://127.0.0.1:8443", key, ca="ca.pem")   # doctest: +SKIP
        >>> client.infer("digits", {"X": pixels}).outputs["label"]        # doctest: +SKIP
    """

    def __init__(
        self,
        url: str,
        key: str,
        ca: str | Path | None = None,
        timeout_s: float = 30.0,
        transport: Transport | None = None,
    ) -> None:
        self._transport = transport or HttpTransport(url, Path(ca) if ca else None, timeout_s)
        self._authorization = {"authorization": f"Bearer {key}"}

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
        reply = self._transport.send("POST", path, {**headers, **self._authorization}, body)
        data = reply.read()
        if reply.status != 200:
            raise problems.decode(reply.status, data, reply.headers)
        answer = oip.decode_response(data, reply.headers.get("inference-header-content-length"))
        return InferResult(
            answer.outputs, answer.model_name, answer.model_version, reply.headers.get("x-request-id", "")
        )

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
