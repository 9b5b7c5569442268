"""Secrets kept on this machine: in files that others cannot read or write, and in the environment."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from typing import Final

from fastness.core.clock import Instant
from fastness.core.errors import FastnessError, Forbidden, NotFound, TooLarge, Unavailable
from fastness.core.secrets import SecretBytes, SecretRef

_OTHERS: Final = stat.S_IWGRP | stat.S_IRWXO
_GONE: Final = (FileNotFoundError, NotADirectoryError)


class FileSecrets:
    """Files of ours or of root's that only their owner can change, and nobody but owner and group can read.

    Links are followed, for orchestrators mount secrets as links; what counts is the file at their end. One line end at its end
    does not belong to the secret.
    """

    def __init__(self, largest: int) -> None:
        self._largest = largest

    def read(self, reference: SecretRef, now: Instant) -> SecretBytes:  # noqa: ARG002 - a file has no time
        """The content of the file.

        Raises:
            NotFound: there is none.
            Forbidden: it is no file, or others could have read or written it.
            TooLarge: it is too large for a secret.
            Unavailable: the disk fails.
        """
        path = f"/{reference.path}"
        try:
            # Not blocking: opening a pipe would wait for a writer that may never come.
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise _file_problem(reference, error) from None
        try:
            self._check(reference, os.fstat(descriptor))
            content = bytearray(self._largest + 2)
            size = os.readv(descriptor, [content])
        except OSError as error:
            raise _file_problem(reference, error) from None
        finally:
            os.close(descriptor)
        end = size - 1 if content[:size].endswith(b"\n") else size
        end -= content[:end].endswith(b"\r") and end < size
        value = SecretBytes(memoryview(content)[:end].tobytes())
        content[:] = bytes(len(content))
        return value

    def _check(self, reference: SecretRef, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            raise Forbidden("secret-unsafe", f"{reference} is not a regular file")
        if status.st_uid not in {0, os.geteuid()}:
            raise Forbidden("secret-unsafe", f"{reference} belongs to somebody else", "It belongs to us or to root.")
        if status.st_mode & _OTHERS:
            raise Forbidden(
                "secret-unsafe", f"others can read or change {reference}", f"Run chmod 600 on /{reference.path}."
            )
        if status.st_size > self._largest + 2:
            raise TooLarge("secret-large", f"{reference} has more than {self._largest} bytes")


class EnvironmentSecrets:
    """Variables of the process. They do not change while it runs, and every child inherits them: files are better."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def __repr__(self) -> str:
        return "EnvironmentSecrets(***)"

    def read(self, reference: SecretRef, now: Instant) -> SecretBytes:  # noqa: ARG002
        """The value of the variable.

        Raises:
            NotFound: it is not set.
        """
        if reference.path not in self._environment:
            raise NotFound("secret-missing", f"{reference} is not set")
        return SecretBytes(os.fsencode(self._environment[reference.path]))


def _file_problem(reference: SecretRef, error: OSError) -> FastnessError:
    if isinstance(error, _GONE):
        return NotFound("secret-missing", f"{reference} does not exist")
    if isinstance(error, PermissionError):
        return Forbidden("secret-refused", f"{reference} may not be read")
    return Unavailable("secret-unreachable", f"{reference} cannot be read: {error.strerror}")
