"""Bytes for which a reader stepped back, stopped early or said `numbers`, and nothing else looked. Nothing here is loaded.

Each case is a file that a loader takes, found by reading the readers against the libraries' own code. Success rate of the
attacks: 0 of those below.
"""

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from fastness.models.scan import Outcome, scan_paths
from tests.unit.models.scan.artifacts import EVIL, call, npy, proto, report_of, rules_of, stream, text
from tests.unit.models.scan.packing import Packed, tar_blocks, tar_header, torch_zip, zip_of
from tests.unit.models.scan.programs import ELF
from tests.unit.models.scan.written import fixture

ACTS = b"0cposix\nsystem\n(S'true'\ntR."
OPENINGS = {
    "a pair of no state and no slots": b"N(N}tb",
    "nothing put into None": b"N(e",
    "no items put into None": b"N(u",
    "a number with a leading zero": b"I010\n",
    "hexadecimal digits beyond measure": b"I0x" + b"1" * 9000 + b"\n",
    "a fraction of many digits": b"F1." + b"1" * 9000 + b"\n",
    "a text beyond measure": b"V" + b"a" * (1 << 20) + b"\n",
    "a quoted text beyond measure": b"S'" + b"a" * (1 << 20) + b"'\n",
    "an import that is told at the end": b"cbuiltins\ngetattr\n0V" + b"a" * 5000 + b"\n",
}


@pytest.mark.parametrize("opening", OPENINGS.values(), ids=OPENINGS)
def test_a_pickle_without_a_magic_whose_first_instructions_are_odd(opening: bytes) -> None:
    pickle.loads(opening + b".")
    report = report_of(opening + ACTS, "notes.txt")
    assert report.outcome is Outcome.BLOCK
    assert "pickle-dangerous-call" in rules_of(report)


ODD = {
    "items of a bytearray": b"\x96" + bytes(8) + b"(K\x41e",
    "an item of a bytearray": b"\x96" + b"\x01" + bytes(8) + b"K\0K\x41s",
    "a zero byte within a number": b"I5\0junk\n",
}


@pytest.mark.parametrize("opening", ODD.values(), ids=ODD)
def test_instructions_that_the_unpickler_of_c_takes(opening: bytes) -> None:
    pickle.loads(opening + b".")
    assert not {"pickle-malformed", "class-dangerous"} & rules_of(report_of(b"\x80\x05" + opening + b"."))
    assert report_of(opening + ACTS).outcome is Outcome.BLOCK


# ---------------------------------------------------------------- models within pickles
def legacy(body: bytes) -> bytes:
    """A file of torch from before its archives, whose object is what `body` makes."""
    magic = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
    return magic + b"\x80\x02M\xe9\x03." + b"\x80\x02}." + b"\x80\x02" + body + b"." + b"\x80\x02]."


def loaded_from_bytes(inner: bytes) -> bytes:
    return call("torch.storage", "_load_from_bytes", b"B" + struct.pack("<I", len(inner)) + inner)


INNER = legacy(b"cposix\nsystem\nX\x04\0\0\0true\x85R" + b"0X" + struct.pack("<I", 300) + b"a" * 300)


def test_a_model_in_bytes_within_an_old_file_of_torch() -> None:
    assert report_of(legacy(loaded_from_bytes(INNER)), "model.pt").outcome is Outcome.BLOCK
    assert report_of(stream(loaded_from_bytes(INNER))).outcome is Outcome.BLOCK


def wrapped(inner: bytes) -> bytes:
    """What joblib writes for an array of objects, which are a pickle of their own behind the wrapper."""
    parts = {"dtype": b"cnumpy\ndtype\nX\x02\0\0\0O8\x89\x88\x87R(K\x03X\x01\0\0\0|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK?tb",
             "shape": b"K\x01\x85", "order": text("C"), "allow_mmap": b"\x89", "numpy_array_alignment_bytes": b"K\x10"}  # fmt: skip
    state = b"}(" + b"".join(text(key) + value for key, value in parts.items()) + b"u"
    return b"\x80\x04cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81" + state + b"b" + inner + b"."


def test_a_model_in_bytes_within_an_array_of_objects_of_joblib() -> None:
    report = report_of(wrapped(stream(loaded_from_bytes(INNER))), "model.joblib")
    assert report.outcome is Outcome.BLOCK, report.verdict.findings


# ---------------------------------------------------------------- configurations
def nested(depth: int) -> str:
    value: object = {"class_name": "Dense", "config": {}}
    for _ in range(depth):
        value = {"class_name": "Dense", "config": {"name": json.dumps(value)}}
    return json.dumps(value)


def test_a_text_that_is_nested_too_deep_hides_no_object() -> None:
    system = {"class_name": "function", "module": "os", "config": "system", "registered_name": "system"}
    config = json.dumps({"class_name": "Functional", "config": {"layers": [system], "name": nested(8)}})
    members = Packed("config.json", config.encode()), Packed("metadata.json", b"{}"), Packed("model.weights.h5", b"")
    for data, name in ((config.encode(), "config.json"), (zip_of(*members), "model.keras")):
        assert {"class-dangerous", "keras-malformed"} <= rules_of(report_of(data, name))


def test_settings_that_are_padded_are_undecided() -> None:
    body = b"[model]\n_target_ = os.system\n"
    assert report_of(body, "config.cfg").outcome is Outcome.BLOCK
    assert report_of(b"# notes\n" * (1 << 19) + body, "config.cfg").outcome is Outcome.INCOMPLETE


def test_an_operator_whose_name_is_written_in_two_texts() -> None:
    for name in ('"PyFunc"', '"Py" "Func"', "'Eager' # as one\n 'PyFunc'", '"PyFunc" ""'):
        report = report_of(b"node { name: 'a' op: " + name.encode() + b" }", "graph.pbtxt")
        assert "operator-runs-code" in rules_of(report), report.verdict.findings
    joined = report_of(b'node { name: "a" op: "Write" "ImageSummary" }', "graph.pbtxt")
    assert joined.outcome is not Outcome.PASS


# ---------------------------------------------------------------- what is said to be numbers
def deflated() -> bytes:
    """A torch archive as `torch.load` takes it, in whose packed pickle nothing can be searched for."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02cunheard.of\nthing\n)R" + b"(" + b"N" * 900 + b"l0.")
        archive.writestr("archive/version", b"3\n")
    return made.getvalue()


def test_a_model_that_a_graph_beside_it_calls_its_weights(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(deflated())
    (tmp_path / "pytorch_model.xml").write_bytes(b'<net name="m" version="11"><layers></layers><edges></edges></net>')
    found = {Path(report.name).name: report for report in scan_paths([tmp_path])}
    assert found["pytorch_model.bin"].outcome is not Outcome.PASS


def test_weights_that_two_lists_describe_otherwise() -> None:
    made = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(fixture("torch", "exported", "model.pt2"))) as old,
        zipfile.ZipFile(made, "w") as new,
    ):
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
        top = old.namelist()[0].partition("/")[0]
        for number, pickled in enumerate((False, True)):
            listed = {"config": {"w": {"path_name": "weight_x", "use_pickle": pickled}}}
            new.writestr(f"{top}/data/weights/more{number}_weights_config.json", json.dumps(listed))
        new.writestr(f"{top}/data/weights/weight_x", b"cunheard.of\nthing\n)R.")
    assert report_of(made.getvalue(), "model.pt2").outcome is not Outcome.PASS


# ---------------------------------------------------------------- behind and between
def png(*chunks: tuple[bytes, bytes]) -> bytes:
    made = b"\x89PNG\r\n\x1a\n"
    for name, data in (*chunks, (b"IEND", b"")):
        made += struct.pack(">I", len(data)) + name + data + bytes(4)
    return made


def test_what_follows_a_picture_behind_zeros() -> None:
    head = png((b"IHDR", bytes(13)))
    assert report_of(head + bytes(4096), "a.png").outcome is Outcome.PASS
    assert report_of(head + bytes(5000) + EVIL, "a.png").outcome is not Outcome.PASS
    assert report_of(head + bytes(4097), "a.png").outcome is Outcome.INCOMPLETE


def riff(data: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", len(data) + 4) + b"WAVE" + data


HIDING: dict[str, Callable[[], tuple[bytes, str]]] = {
    "a chunk of a picture": lambda: (png((b"IHDR", bytes(13)), (b"prVt", ELF)), "a.png"),
    "a part of a sound": lambda: (riff(b"data" + struct.pack("<I", len(ELF)) + ELF), "a.wav"),
    "the frames of a sound": lambda: (b"ID3\4\0\0\0\0\0\0" + b"\0" * 64 + ELF + b"\0" * 64, "a.mp3"),
    "a document": lambda: (b"%PDF-1.4\n" + ELF + b"\n%%EOF\n", "a.pdf"),
    "a list of numbers of GGUF": lambda: (gguf(ELF), "m.gguf"),
    "a piece of a tokenizer": lambda: (proto(1, proto(1, b"a")) + proto(1, proto(1, b"b" + ELF)), "tokenizer.model"),
    "a value of LightGBM": lambda: (b"tree\nversion=v4\nfeature_names=" + ELF.replace(b"\n", b"") + b"\n\n", "m.txt"),
    "the program of CoreML": lambda: (b"program(1.0)\n[buildInfo = x]\n" + ELF, "model.mil"),
    "the licence": lambda: (b"All rights reserved.\n" * 400 + ELF, "LICENSE"),
}


def gguf(numbers: bytes) -> bytes:
    def named(value: bytes) -> bytes:
        return struct.pack("<Q", len(value)) + value

    head = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + named(b"general.numbers") + struct.pack("<IIQ", 9, 0, len(numbers))
    return head + numbers + bytes(-len(head + numbers) % 32)


@pytest.mark.parametrize("made", HIDING.values(), ids=HIDING)
def test_a_program_within(made: Callable[[], tuple[bytes, str]]) -> None:
    data, name = made()
    assert report_of(data, name).outcome is not Outcome.PASS


def test_an_archive_behind_a_model_of_tensorflow_lite_that_is_none() -> None:
    model = fixture("compiled", "tflite-dense", "model.tflite")
    assert report_of(model, "m.tflite").outcome is Outcome.PASS
    assert report_of(model + b"PK\x03\x04" + b"hidden" * 9, "m.tflite").outcome is not Outcome.PASS
    archive = bytearray(zip_of(Packed("a.pkl", EVIL)))
    archive[-14:-10] = bytes(4)  # no member, says the end; Python's zipfile goes by the length of the directory
    assert zipfile.ZipFile(io.BytesIO(bytes(archive))).namelist() == ["a.pkl"]
    assert report_of(model + bytes(archive), "m.tflite").outcome is Outcome.BLOCK
    assert report_of(b"ID3\4\0\0\0\0\0\0" + bytes(64) + bytes(archive), "a.mp3").outcome is Outcome.BLOCK


# ---------------------------------------------------------------- tar
def test_a_volume_label_that_python_unpacks_as_a_file() -> None:
    packed = tar_blocks(tar_header("model.pkl", len(EVIL), b"V"), EVIL)
    assert report_of(packed, "m.tar").outcome is Outcome.BLOCK


def test_members_whose_size_python_takes_from_elsewhere() -> None:
    record = b"11 size=99\n"
    packed = tar_blocks(tar_header("g", len(record), b"g"), record, tar_header("a.txt", 5), b"hello")
    assert report_of(packed, "m.tar").outcome is Outcome.INCOMPLETE
    folder = tar_blocks(tar_header("a/", 5, b"\0"), b"hello")
    assert "tar-disagreement" in rules_of(report_of(folder, "m.tar"))


def test_a_checksum_that_only_python_reads() -> None:
    packed = bytearray(tar_blocks(tar_header("model.pkl", len(EVIL)), EVIL))
    stated = int(bytes(packed[148:154]), 8)
    packed[148:156] = b"0o%05o\0" % stated
    assert report_of(bytes(packed), "m.tar").outcome is Outcome.BLOCK


def test_numbers_are_not_archives_by_chance() -> None:
    assert report_of(torch_zip(b"\x80\x02N."), "m.pt").outcome is Outcome.PASS
    assert report_of(npy("'<u4'", "(4,)", b"PK\x03\x04" + bytes(12)), "a.npy").outcome is Outcome.PASS
