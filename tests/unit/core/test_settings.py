"""Settings: strict, in the right order, and every mistake names its key."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from fastness.core.errors import Invalid
from fastness.core.settings import InvalidSetting, load


@dataclass(frozen=True)
class Tls:
    names: tuple[str, ...] = ("localhost",)
    days: int = 30


@dataclass(frozen=True)
class Gateway:
    port: int = 8443
    deadline_s: float = 2.0
    strict: bool = True
    host: str = "127.0.0.1"
    tls: Tls = Tls()

    def __post_init__(self) -> None:
        if not 0 < self.port < 65536:
            raise InvalidSetting("gateway.port", "lies in 1 to 65535")
        if self.deadline_s <= 0:
            raise Invalid("deadline", "deadline_s is above 0")


@dataclass(frozen=True)
class Root:
    gateway: Gateway = Gateway()
    name: str = "home"


def read(tmp_path: Path, text: str) -> Root:
    file = tmp_path / "fastness.toml"
    file.write_text(text, encoding="utf-8")
    return load(Root, file, {}, {})


def test_without_anything_the_defaults_stand() -> None:
    assert load(Root, None, {}, {}) == Root()


def test_a_missing_file_is_an_empty_one(tmp_path: Path) -> None:
    assert load(Root, tmp_path / "none.toml", {}, {}) == Root()


def test_file_then_environment_then_flags(tmp_path: Path) -> None:
    file = tmp_path / "fastness.toml"
    file.write_text('name = "file"\n[gateway]\nport = 1\nhost = "file"\ndeadline_s = 1.5\n', encoding="utf-8")
    environment = {"FASTNESS_GATEWAY__PORT": "2", "FASTNESS_GATEWAY__HOST": "environment", "PATH": "ignored"}
    seen = load(Root, file, environment, {"gateway.port": "3"})
    assert (seen.name, seen.gateway.deadline_s, seen.gateway.host, seen.gateway.port) == ("file", 1.5, "environment", 3)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        pytest.param("surprise = 1", "surprise", id="unknown key"),
        pytest.param("[gatway]\nport = 1", "gatway", id="unknown table"),
        pytest.param("[gateway]\nprot = 1", "gateway.prot", id="unknown key in a table"),
        pytest.param("[gateway.tls]\nday = 1", "gateway.tls.day", id="unknown key in a table's table"),
        pytest.param('[gateway]\nport = "many"', "gateway.port", id="text for a number"),
        pytest.param("[gateway]\nport = 1.0", "gateway.port", id="fraction for a whole number"),
        pytest.param("[gateway]\nport = true", "gateway.port", id="boolean for a number"),
        pytest.param("[gateway]\ndeadline_s = true", "gateway.deadline_s", id="boolean for a fraction"),
        pytest.param("[gateway]\ndeadline_s = nan", "gateway.deadline_s", id="nan would pass every range"),
        pytest.param('[gateway]\ndeadline_s = "nan"', "gateway.deadline_s", id="nan as text"),
        pytest.param("[gateway]\nstrict = 1", "gateway.strict", id="number for a boolean"),
        pytest.param("name = 7", "name", id="number for a text"),
        pytest.param("name = 2026-01-01", "name", id="date for a text"),
        pytest.param("name = []", "name", id="list for a text"),
        pytest.param("gateway = 7", "gateway", id="number for a table"),
        pytest.param("[gateway]\ntls = [1]", "gateway.tls", id="list for a table"),
        pytest.param("[gateway.tls]\nnames = [1]", "gateway.tls.names", id="list of numbers"),
        pytest.param("[gateway.tls]\nnames = 1", "gateway.tls.names", id="number for a list"),
        pytest.param("[gateway]\nport = 70000", "gateway.port", id="out of range"),
        pytest.param("[gateway]\ndeadline_s = 0", "gateway", id="out of range, said by a part that knows no keys"),
        pytest.param("not toml", "fastness.toml", id="not TOML"),
        pytest.param("name = 'a'\nname = 'b'", "fastness.toml", id="given twice"),
        pytest.param("[gateway]\nport = " + "9" * 5000, "fastness.toml", id="thousands of digits"),
    ],
)
def test_each_mistake_stops_and_names_its_key(tmp_path: Path, text: str, key: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        read(tmp_path, text)
    assert caught.value.message.startswith(f"setting {key}: ")
    assert caught.value.code == "setting-invalid"
    assert caught.value.exit == 2


def test_a_whole_number_may_stand_for_a_fraction_and_text_for_a_number(tmp_path: Path) -> None:
    gateway = read(tmp_path, '[gateway]\ndeadline_s = 3\nport = "443"').gateway
    assert (gateway.deadline_s, type(gateway.deadline_s), gateway.port) == (3.0, float, 443)


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "fastness.toml"
    file.write_bytes(b'name = "\xff"')
    with pytest.raises(InvalidSetting, match=r"fastness\.toml"):
        load(Root, file, {}, {})


def test_a_folder_in_place_of_the_file_is_refused_and_not_taken_for_none(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="cannot be read"):
        load(Root, tmp_path, {}, {})


@pytest.mark.skipif(os.geteuid() == 0, reason="host: root reads everything")
def test_an_unreadable_file_is_refused_and_not_taken_for_none(tmp_path: Path) -> None:
    file = tmp_path / "fastness.toml"
    file.write_text("", encoding="utf-8")
    file.chmod(0)
    with pytest.raises(InvalidSetting, match="cannot be read"):
        load(Root, file, {}, {})


@pytest.mark.parametrize("text", ["true", "TRUE", "1", "yes", "on"])
def test_words_for_true(text: str) -> None:
    assert load(Root, None, {"FASTNESS_GATEWAY__STRICT": text}, {}).gateway.strict is True


@pytest.mark.parametrize("text", ["false", "False", "0", "no", "off"])
def test_words_for_false(text: str) -> None:
    assert load(Root, None, {}, {"gateway.strict": text}).gateway.strict is False


@pytest.mark.parametrize("text", ["", "2", "maybe", "truee", " true"])
def test_other_words_are_no_boolean(text: str) -> None:
    with pytest.raises(InvalidSetting, match=r"gateway\.strict: is true or false"):
        load(Root, None, {"FASTNESS_GATEWAY__STRICT": text}, {})


def test_a_list_in_the_environment_is_split_at_commas() -> None:
    seen = load(Root, None, {"FASTNESS_GATEWAY__TLS__NAMES": "a.test, b.test,"}, {})
    assert seen.gateway.tls.names == ("a.test", "b.test")


def test_an_unknown_variable_stops_the_start() -> None:
    with pytest.raises(InvalidSetting, match="setting surprise: no such setting"):
        load(Root, None, {"FASTNESS_SURPRISE": "1"}, {})


def test_a_prefix_alone_is_not_a_setting() -> None:
    with pytest.raises(InvalidSetting, match="no such setting"):
        load(Root, None, {"FASTNESS_": "1"}, {})


def test_a_value_and_a_table_at_once(tmp_path: Path) -> None:
    file = tmp_path / "fastness.toml"
    file.write_text('name = "x"', encoding="utf-8")
    with pytest.raises(InvalidSetting, match=r"name\.first: is a value and a table at once"):
        load(Root, file, {"FASTNESS_NAME__FIRST": "1"}, {})


def test_a_table_is_not_replaced_by_a_text(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="setting gateway: is a table"):
        load(Root, None, {}, {"gateway": "1"})


def test_a_long_wrong_value_is_cut_in_the_message() -> None:
    with pytest.raises(InvalidSetting) as caught:
        load(Root, None, {"FASTNESS_GATEWAY__PORT": "x" * 10_000}, {})
    assert len(caught.value.message) < 200


def test_a_field_of_a_type_that_no_text_can_become_is_a_mistake_of_the_programmer() -> None:
    @dataclass(frozen=True)
    class Odd:
        when: complex = 1j

    with pytest.raises(TypeError, match="setting when"):
        load(Odd, None, {}, {"when": "1"})
