from __future__ import annotations

import base64

import pytest

from fastness.core.errors import Corrupt, Invalid
from fastness.foundation.ledger import open_checkpoint
from fastness.foundation.ledger.checkpoint import origin_of, sign_checkpoint, verifier_key
from tests.unit.foundation.ledger.parts import Ed25519Signer

SIGNER = Ed25519Signer()
ORIGIN = origin_of(SIGNER.public_raw)
VKEY = verifier_key(ORIGIN, SIGNER.public_raw)
ROOT = bytes(range(32))
NOTE = sign_checkpoint(SIGNER, ORIGIN, 1234, ROOT).note

# The example of the signed-note package of Go: name, key and signature made by others.
GO_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"


def test_what_was_signed_is_opened() -> None:
    opened = open_checkpoint(NOTE, VKEY)
    assert (opened.origin, opened.size, opened.root, opened.note) == (ORIGIN, 1234, ROOT, NOTE)


def test_the_note_reads_as_c2sp_says() -> None:
    origin, size, root, blank, signature, end = NOTE.decode().split("\n")
    assert (origin, size, root, blank, end) == (ORIGIN, "1234", base64.b64encode(ROOT).decode(), "", "")
    assert signature.startswith(f"\u2014 {ORIGIN} ")


def test_a_key_of_others_parses_by_its_id() -> None:
    with pytest.raises(Corrupt, match="another log"):
        open_checkpoint(NOTE, GO_VKEY)


def test_every_changed_byte_is_seen() -> None:
    for place in range(len(NOTE)):
        for flip in (1, 0x20, 0x80):
            changed = NOTE[:place] + bytes([NOTE[place] ^ flip]) + NOTE[place + 1 :]
            with pytest.raises(Corrupt):
                open_checkpoint(changed, VKEY)


def test_every_cut_is_seen() -> None:
    for end in range(len(NOTE)):
        with pytest.raises(Corrupt):
            open_checkpoint(NOTE[:end], VKEY)


def test_a_witness_may_sign_too_but_not_instead() -> None:
    witness = f"\u2014 witness.example {base64.b64encode(b'1234' + bytes(64)).decode()}\n".encode()
    assert open_checkpoint(NOTE + witness, VKEY).size == 1234
    body, _, _ = NOTE.partition(b"\n\n")
    with pytest.raises(Corrupt, match="not signed"):
        open_checkpoint(body + b"\n\n" + witness, VKEY)


WRONG = {
    "empty": b"",
    "another key": sign_checkpoint(Ed25519Signer(b"\x08" * 32), ORIGIN, 1234, ROOT).note,
    "another origin": sign_checkpoint(SIGNER, "other.example", 1234, ROOT).note,
    "leading zero": sign_checkpoint(SIGNER, ORIGIN, 1234, ROOT).note.replace(b"\n1234\n", b"\n01234\n"),
    "short root": sign_checkpoint(SIGNER, ORIGIN, 1234, ROOT[:31]).note,
    "no signature": NOTE.partition(b"\n\n")[0] + b"\n\n",
    "text after": NOTE + b"x",
    "blank line after": NOTE + b"\n",
    "carriage returns": NOTE.replace(b"\n", b"\r\n"),
    "not UTF-8": NOTE + b"\xff\n",
    "huge": NOTE + b"x" * 100_000,
}


@pytest.mark.parametrize("note", WRONG.values(), ids=WRONG)
def test_wrong_notes(note: bytes) -> None:
    with pytest.raises(Corrupt) as caught:
        open_checkpoint(note, VKEY)
    assert caught.value.code == "checkpoint-invalid"


BAD_KEYS = [
    "",
    "x",
    "x+y+z",
    VKEY[:-1],
    VKEY.replace("+", " "),
    VKEY.replace(VKEY.split("+")[1], "00000000"),
    "x+" + VKEY.split("+", 1)[1],
]


@pytest.mark.parametrize("vkey", BAD_KEYS)
def test_bad_keys(vkey: str) -> None:
    with pytest.raises(Invalid):
        open_checkpoint(NOTE, vkey)


@pytest.mark.parametrize("origin", ["", "a b", "a+b", "a\nb", "x" * 201])
def test_a_log_has_a_plain_name(origin: str) -> None:
    with pytest.raises(Invalid):
        verifier_key(origin, SIGNER.public_raw)
