"""Secrets kept by HashiCorp Vault (key-value engine) and by AWS Secrets Manager.

Source: HashiCorp, "KV secrets engine version 2 (API)"; AWS, "GetSecretValue", API reference of Secrets Manager.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from fastness.core.clock import Instant
from fastness.core.errors import FastnessError, Forbidden, Invalid, NotFound, Unavailable
from fastness.core.secrets import SecretBytes, SecretRef

if TYPE_CHECKING:
    import hvac

_DENIED: Final = frozenset(
    {"AccessDeniedException", "UnrecognizedClientException", "InvalidSignatureException", "ExpiredTokenException"}
)
_GONE: Final = frozenset({"ResourceNotFoundException", "InvalidRequestException"})  # the latter: marked for deletion


class VaultSecrets:
    """Fields of secrets of a key-value engine.

    Args:
        token: asked before each call, so that a renewed token counts.
        kv: version of the engine.
    """

    def __init__(
        self,
        url: str,
        token: Callable[[Instant], SecretBytes] | None,
        *,
        timeout_s: float,
        namespace: str = "",
        ca: str = "",
        kv: int = 2,
    ) -> None:
        self._url = url
        self._token = token
        self._timeout_s = timeout_s
        self._namespace = namespace
        self._ca = ca
        self._kv = kv
        self._client: hvac.Client | None = None

    def __repr__(self) -> str:
        return f"VaultSecrets({self._url!r})"

    def read(self, reference: SecretRef, now: Instant) -> SecretBytes:
        """The field.

        Raises:
            NotFound: there is no such secret, version or field.
            Forbidden: the token is refused, or may not read it.
            Unavailable: Vault is not there, sealed, or answers what is no answer.
            Invalid: the field holds no text.
        """
        from hvac import exceptions

        problem: FastnessError
        try:
            return self._field(reference, now)
        except (exceptions.Forbidden, exceptions.Unauthorized):
            problem = Forbidden("secret-refused", f"Vault refuses {reference}", "Check token and policy.")
        except exceptions.InvalidPath:
            problem = NotFound("secret-missing", f"Vault has no {reference}")
        except Exception as error:  # whatever was raised may hold what was answered: only its kind is told
            problem = _clean("Vault", reference, error)
        raise problem  # here, so that no frame and no cause that held a value is tied to it

    def _field(self, reference: SecretRef, now: Instant) -> SecretBytes:
        client = self._connected()
        client.token = None if self._token is None else self._token(now).reveal().decode()
        try:
            mount, _, path = reference.path.partition("/")
            if self._kv == 2:
                answer = client.secrets.kv.v2.read_secret_version(
                    path, mount_point=mount, raise_on_deleted_version=True
                )
                return _text_of(answer["data"]["data"], reference)
            return _text_of(client.secrets.kv.v1.read_secret(path, mount_point=mount)["data"], reference)
        finally:
            client.token = None

    def _connected(self) -> hvac.Client:
        if self._client is None:
            import hvac

            self._client = hvac.Client(
                self._url,
                token="",  # none of the environment's
                verify=self._ca or True,
                timeout=self._timeout_s,
                allow_redirects=False,  # the token goes to nobody else
                namespace=self._namespace or None,
            )
            self._client.adapter.session.trust_env = False
        return self._client


class AwsSecrets:
    """Secrets of AWS Secrets Manager, whole or a field of their JSON."""

    def __init__(self, region: str, endpoint: str, timeout_s: float) -> None:
        self._region = region
        self._endpoint = endpoint
        self._timeout_s = timeout_s
        self._client: Any = None  # boto3 makes its clients at run time

    def __repr__(self) -> str:
        return "AwsSecrets(***)"

    def read(self, reference: SecretRef, now: Instant) -> SecretBytes:  # noqa: ARG002 - AWS keeps the time
        """The secret, or a field of it.

        Raises:
            NotFound: there is no such secret or field, or it is being deleted.
            Forbidden: we may not read it.
            Unavailable: AWS is not there.
            Invalid: it is no JSON object where a field is asked for.
        """
        from botocore.exceptions import ClientError

        problem: FastnessError
        try:
            return self._value(reference)
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            if code in _GONE:
                problem = NotFound("secret-missing", f"AWS has no {reference}")
            elif code in _DENIED:
                problem = Forbidden("secret-refused", f"AWS refuses {reference}", "Check role and policy.")
            else:
                problem = _clean("AWS", reference, error)
        except Exception as error:  # as for Vault
            problem = _clean("AWS", reference, error)
        raise problem

    def _value(self, reference: SecretRef) -> SecretBytes:
        answer = self._connected().get_secret_value(SecretId=reference.path)
        if "SecretString" not in answer:
            if reference.field:
                raise Invalid("secret-malformed", f"{reference} is binary, and has no fields")
            return SecretBytes(answer["SecretBinary"])
        if not reference.field:
            return SecretBytes(answer["SecretString"].encode())
        try:
            fields = msgspec.json.decode(answer["SecretString"], type=dict[str, Any])
        except (msgspec.MsgspecError, RecursionError):
            raise Invalid("secret-malformed", f"{reference} is no JSON object") from None
        return _text_of(fields, reference)

    def _connected(self) -> Any:
        if self._client is None:
            import boto3
            from botocore.config import Config

            # At DEBUG the library logs whole answers.
            logging.getLogger("botocore").setLevel(logging.INFO)
            limits = Config(
                connect_timeout=self._timeout_s, read_timeout=self._timeout_s, retries={"total_max_attempts": 1}
            )
            self._client = boto3.client(
                "secretsmanager",
                region_name=self._region or None,
                endpoint_url=self._endpoint or None,
                config=limits,
            )
        return self._client


def _text_of(fields: dict[str, Any], reference: SecretRef) -> SecretBytes:
    if reference.field not in fields:
        raise NotFound("secret-missing", f"{reference}: there is no such field")
    if not isinstance(fields[reference.field], str):
        raise Invalid("secret-malformed", f"{reference} holds no text")
    return SecretBytes(fields[reference.field].encode())


def _clean(keeper: str, reference: SecretRef, error: Exception) -> FastnessError:
    """The error to raise, without the frames of the one that happened: they hold the value."""
    if isinstance(error, FastnessError):
        return type(error)(error.code, error.message, error.hint)
    return Unavailable(
        "secret-unreachable",
        f"{keeper} does not give {reference} ({type(error).__name__})",
        "Is it there, and unsealed?",
    )
