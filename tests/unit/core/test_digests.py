"""Digests, blob ids and names: what passes is safe in paths and URLs."""

from __future__ import annotations

import hashlib
from pathlib import PurePosixPath
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastness.core.digests import parse_blob_id, parse_digest, parse_name
from fastness.core.errors import Invalid

HEX = "0123456789abcdef" * 4


def test_a_real_digest_passes() -> None:
    text = f"sha256:{hashlib.sha256(b'').hexdigest()}"
    assert parse_digest(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        HEX,
        "sha256:",
        f"sha256:{HEX[:-1]}",
        f"sha256:{HEX}0",
        f"sha256:{HEX.upper()}",
        f"SHA256:{HEX}",
        f"sha512:{HEX}",
        f"sha256:{HEX}\n",
        f" sha256:{HEX}",
        f"sha256:{HEX[:-1]}g",
        f"sha256:{HEX[:-1]}\N{FULLWIDTH DIGIT ONE}",
    ],
)
def test_what_is_not_a_digest(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_digest(text)
    assert caught.value.code == "digest-malformed"
    assert "sha256:" in caught.value.hint


@pytest.mark.parametrize(
    "text", ["", "../" + HEX[3:], HEX[:-1], HEX + "0", HEX + "\n", HEX.upper(), "/" * 64, "." * 64]
)
def test_what_is_not_a_blob_id(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_blob_id(text)
    assert caught.value.code == "blob-id-malformed"


def test_a_blob_id_passes() -> None:
    assert parse_blob_id(HEX) == HEX


@pytest.mark.parametrize("text", ["a", "7", "digits", "bert-base.v2", "a_b", "x" * 64, "1.0"])
def test_names(text: str) -> None:
    assert parse_name(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "a..b",
        "-a",
        "a-",
        ".a",
        "a.",
        "_a",
        "a/b",
        "a\\b",
        "a b",
        "A",
        "a\n",
        "a\0",
        "a%2e",
        "x" * 65,
        "\N{LATIN SMALL LETTER SHARP S}",
        "\N{ARABIC-INDIC DIGIT ONE}",
        "caf\N{LATIN SMALL LETTER E WITH ACUTE}",
    ],
)
def test_what_is_not_a_name(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_name(text)
    assert caught.value.code == "name-malformed"
    assert caught.value.hint


@given(st.text(max_size=70))
def test_a_name_that_passes_is_one_path_part_and_needs_no_quoting(text: str) -> None:
    try:
        name = parse_name(text)
    except Invalid:
        return
    assert PurePosixPath("folder", name).parts == ("folder", name)
    assert quote(name, safe="") == name


def test_a_long_wrong_name_is_cut_in_the_message() -> None:
    with pytest.raises(Invalid) as caught:
        parse_name("!" * 100_000)
    assert len(caught.value.message) < 200
