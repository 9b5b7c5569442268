"""What a guest has: descriptors, and the way to lock itself in."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from fastness.foundation.sandbox.guest import lockdown
from fastness.foundation.sandbox.guest.channel import Channel


@dataclass(frozen=True)
class Guest:
    """What a guest is given: descriptors, no paths.

    Attributes:
        control: descriptor of the channel to the parent.
        files: name to descriptor of each sealed file.
        listener: descriptor of a listening socket, or -1.
        frame_bytes: the longest frame, either way.
    """

    control: int
    files: dict[str, int]
    listener: int
    frame_bytes: int

    def greet(self) -> None:
        """Tell the parent that we are here; the kernel adds who we are."""
        stream = socket.socket(fileno=self.control)
        Channel(stream, self.frame_bytes).send(b"hello")
        stream.detach()

    def lock_down(self) -> None:
        """Set landlock and seccomp for good, and see that they hold. Do it before looking at anything untrusted.

        Raises:
            LockError: a lock cannot be set, or what it forbids was possible.
        """
        lockdown.lock_down()
        possible = [act for act, number in self.self_test().items() if number != lockdown.REFUSED]
        if possible:
            raise lockdown.LockError(f"still possible inside: {', '.join(possible)}")

    def self_test(self) -> dict[str, int]:
        """Forbidden act to the errno with which it failed just now; 0 where it was possible."""
        return lockdown.self_test()
