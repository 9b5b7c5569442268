from __future__ import annotations

import os
import re
import zlib

import pytest

from fastness.access.apikeys import (
    KEY_ID,
    KEY_LENGTH,
    KEY_PATTERN,
    PUBLIC_KEYS,
    ApiKey,
    base62,
    format_key,
    mint,
    mint_code,
    well_formed,
)
from fastness.core.errors import Unavailable
from fastness.core.identity import PrincipalId


def test_a_fresh_key_is_well_formed_and_found_by_a_secret_scanner() -> None:
    key_id, text = mint(os.urandom)
    assert well_formed(text.encode())
    assert text[KEY_ID] == key_id
    assert re.search(KEY_PATTERN, f'api_key = "{text}"  # oh no')
    assert len(text) == KEY_LENGTH


def test_the_check_is_the_crc_of_all_before_it() -> None:
    _, text = mint(os.urandom)
    head, _, check = text.rpartition("_")
    assert int(check, 16) == zlib.crc32(head.encode())


def test_two_keys_differ_in_id_and_secret() -> None:
    keys = {mint(os.urandom) for _ in range(200)}
    assert len({key_id for key_id, _ in keys}) == 200
    assert len({text.split("_")[2] for _, text in keys}) == 200


@pytest.mark.parametrize("secret", [bytes(31) + b"\x01", b"\xff" * 32, bytes(range(32))])
def test_the_text_holds_all_256_bits(secret: bytes) -> None:
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    number = 0
    for character in base62(secret):
        number = number * 62 + digits.index(character)
    assert number.to_bytes(32) == secret


def test_every_single_wrong_character_is_noticed() -> None:
    text = format_key("ab12cd34", bytes(range(32)))
    for place in range(len(text)):
        for other in "0aZ_-":
            if other != text[place]:
                assert not well_formed((text[:place] + other + text[place + 1 :]).encode()), (place, other)


@pytest.mark.parametrize("text", [b"", b"fst_", b"sk-1234", b"\xff" * 65, b"FST_" + b"0" * 61, "fst_١٢٣٤٥٦٧٨".encode()])
def test_what_is_no_key_is_not_well_formed(text: bytes) -> None:
    assert not well_formed(text)


@pytest.mark.parametrize("entropy", [bytes, lambda count: b"\x01" * (count - 1)], ids=["zeros", "short"])
def test_a_broken_source_of_randomness_makes_no_key(entropy: object) -> None:
    for make in (mint, mint_code):
        with pytest.raises(Unavailable) as caught:
            make(entropy)  # type: ignore[arg-type]
        assert caught.value.code == "entropy-broken"


def test_a_code_is_not_taken_for_a_key() -> None:
    code = mint_code(os.urandom)
    assert code.startswith("fse_")
    assert not well_formed(code.encode())


def test_the_key_of_the_documentation_is_well_formed_and_known() -> None:
    assert all(well_formed(text) for text in PUBLIC_KEYS)
    assert PUBLIC_KEYS


def test_printing_a_key_does_not_show_its_text() -> None:
    key_id, text = mint(os.urandom)
    key = ApiKey(key_id, PrincipalId("user:alice"), None, text)
    assert text not in repr(key)
    assert text not in f"{key}"
    assert key.text == text
