"""The proofs notice when a layer is not there: they are run against a guest without any isolation."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import pytest

from fastness.core.errors import Unavailable
from fastness.foundation.sandbox import Layer, LayerProof, SandboxSettings
from fastness.foundation.sandbox.layers import prove
from fastness.foundation.sandbox.sandbox import Sandbox
from tests.unit.foundation.sandbox.grounds import GUEST, Limits, start_unprotected

# Set from inside by the guest itself, so they hold without a sandbox too, where the kernel has them.
FROM_INSIDE = {Layer.LANDLOCK, Layer.SECCOMP, Layer.OPEN, Layer.SOCKET, Layer.FORK, Layer.EXEC}
AS_ROOT = {Layer.WRITE, Layer.CAPABILITIES, Layer.REAL_UID}


@cache
def proofs() -> dict[str, LayerProof]:
    return {proof.layer: proof for proof in prove(start_unprotected, ("network", "files"), (), "no sandbox")}


@pytest.mark.parametrize("layer", [layer for layer in Layer if layer not in FROM_INSIDE])
def test_a_layer_that_is_not_there_is_not_vouched_for(layer: Layer) -> None:
    if layer in AS_ROOT and os.geteuid() != 0:
        pytest.skip("host: root is not there")
    proof = proofs()[layer]
    assert not proof.holds, proof.how
    assert proof.hint


def test_only_what_the_settings_name_is_required() -> None:
    assert [proof.layer for proof in proofs().values() if proof.required] == ["network", "files"]


def test_a_guest_that_cannot_be_started_proves_nothing() -> None:
    def broken(*_: object) -> None:
        raise Unavailable("sandbox-failed", "no luck today")

    found = prove(broken, (), (), "broken")
    assert [proof.layer for proof in found] == [str(layer) for layer in Layer]
    assert not any(proof.holds for proof in found)
    assert all("no luck today" in proof.how for proof in found)


def test_a_bubblewrap_that_does_not_work_is_not_replaced_in_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    false = tmp_path / "bwrap"
    false.symlink_to("/usr/bin/false")
    monkeypatch.setenv("PATH", str(tmp_path))
    sandbox = Sandbox.detect(SandboxSettings())
    assert sandbox.backend == "bubblewrap"
    with pytest.raises(Unavailable) as caught:
        sandbox.start(GUEST, (), Limits())
    assert caught.value.code == "sandbox-layer-missing"
    assert "network" in caught.value.message
    assert caught.value.hint


def test_bubblewrap_that_is_asked_for_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert Sandbox.detect(SandboxSettings()).backend == "namespaces"
    with pytest.raises(Unavailable, match="sandbox-backend-missing"):
        Sandbox.detect(SandboxSettings(backend="bubblewrap"))
