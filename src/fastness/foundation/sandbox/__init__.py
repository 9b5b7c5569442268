"""Isolated execution: namespaces, landlock, seccomp, limits, and the framed channel to what runs inside."""

from fastness.foundation.sandbox.guest.channel import HEAD_BYTES, Channel, ChannelError, pack_head, read_head
from fastness.foundation.sandbox.guest.inside import Guest
from fastness.foundation.sandbox.guest.lockdown import LockError
from fastness.foundation.sandbox.layers import LayerProof
from fastness.foundation.sandbox.sandbox import Sandbox
from fastness.foundation.sandbox.sealed import SealedFile
from fastness.foundation.sandbox.settings import EntryPoint, Layer, Limits, SandboxSettings
from fastness.foundation.sandbox.worker import Worker

__all__ = [
    "HEAD_BYTES",
    "Channel",
    "ChannelError",
    "EntryPoint",
    "Guest",
    "Layer",
    "LayerProof",
    "Limits",
    "LockError",
    "Sandbox",
    "SandboxSettings",
    "SealedFile",
    "Worker",
    "pack_head",
    "read_head",
]
