"""Published ways past scanners of torch's files, each as the class it is. Nothing here is ever loaded.

Success rate of the attacks: 0 of those below.
"""

import gzip
import struct

import pytest

from fastness.models.scan import Outcome
from tests.unit.models.scan.artifacts import EVIL, SYSTEM, call, report_of, rules_of, stream, text
from tests.unit.models.scan.packing import Packed, tar_of, torch_zip, zip_of
from tests.unit.models.scan.written import fixture

HONEST = stream(b"}" + text("w") + b"K\x01s", 2)
MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


def seven(data: bytes) -> bytes:
    """A 7z archive of one stored file, put together by hand."""
    names = b"\0" + "m.pkl\0".encode("utf-16-le")
    streams = b"\x04\x06\x00\x01\x09" + bytes([len(data)]) + b"\x00"
    streams += b"\x07\x0b\x01\x00\x01\x01\x00\x0c" + bytes([len(data)]) + b"\x00\x00"
    header = b"\x01" + streams + b"\x05\x01\x11" + bytes([len(names)]) + names + b"\x00\x00"
    start = struct.pack("<QQI", len(data), len(header), crc(header))
    return b"7z\xbc\xaf\x27\x1c\x00\x04" + struct.pack("<I", crc(start)) + start + data + header


def crc(data: bytes) -> int:
    import zlib

    return zlib.crc32(data)


ATTACKS = {
    "nullifAI: a broken pickle in 7z": seven(b"\x80\x04" + SYSTEM + b"0\xff\xfe"),
    "a pickle in 7z": seven(EVIL),
    "data.pkl": torch_zip(EVIL),
    "data.pkl, deflated": zip_of(Packed("a/data.pkl", EVIL, 8), Packed("a/version", b"3\n")),
    "DATA.PKL, which torch finds as well": zip_of(Packed("a/data.pkl", HONEST), Packed("a/DATA.PKL", EVIL), Packed("a/version", b"3\n")),
    "two of one name": zip_of(Packed("a/data.pkl", HONEST), Packed("a/data.pkl", EVIL), Packed("a/version", b"3\n")),
    "CVE-2025-1944: names that differ": zip_of(Packed("a/readme.txt", EVIL, local_name="a/data.pkl"), Packed("a/version", b"3\n")),
    "CVE-2025-1945: a flag": zip_of(Packed("a/data.pkl", EVIL, flags=1), Packed("a/version", b"3\n")),
    "CVE-2025-10156: a checksum": zip_of(Packed("a/data.pkl", EVIL, crc=9), Packed("a/version", b"3\n")),
    "a second folder": torch_zip(HONEST, [Packed("b/data.pkl", EVIL)]),
    "a folder within": torch_zip(HONEST, [Packed("archive/x/data.pkl", EVIL)]),
    "a file beside, for the program that unpacks it": torch_zip(HONEST, [Packed("archive/extra/model.joblib", EVIL)]),
    "constants.pkl": torch_zip(HONEST, [Packed("archive/constants.pkl", EVIL)]),
    "a storage that is listed elsewhere": torch_zip(HONEST, [Packed("data/0", EVIL)]),
    "a storage whose key is no number": torch_zip(HONEST, [Packed("archive/data/evil", EVIL)]),
    "a .storage of a package": zip_of(Packed("p/.data/extern_modules", b""), Packed("p/.data/python_version", b"3.11"), Packed("p/m/m.pkl", EVIL)),
    "the magic number by a call": MAGIC[:-1] + b"0" + SYSTEM + b"0" + MAGIC[2:] + HONEST * 4,
    "the magic number by a call, behind nothing": stream(call("builtins", "int", text("1")) + b"0" + SYSTEM, 2) + HONEST * 4,
    "the number of the version": MAGIC + EVIL + HONEST * 3,
    "the information on the system": MAGIC + HONEST + EVIL + HONEST * 2,
    "the model itself": MAGIC + HONEST * 2 + EVIL + HONEST,
    "the keys of the storages": MAGIC + HONEST * 3 + EVIL,
    "tar: the model": tar_of(("pickle", EVIL), ("storages", HONEST), ("tensors", HONEST), ("sys_info", HONEST)),
    "tar: the storages": tar_of(("pickle", HONEST), ("storages", EVIL), ("tensors", HONEST), ("sys_info", HONEST)),
    "tar: without storages": tar_of(("pickle", EVIL)),
    "in gzip": gzip.compress(torch_zip(EVIL)),
    "in a zip, in a tar, in gzip": gzip.compress(tar_of(("m.zip", zip_of(Packed("m.pt", torch_zip(EVIL), 8))))),
}  # fmt: skip


@pytest.mark.parametrize("name", ["model.pt", "pytorch_model.bin", "weights.safetensors"])
@pytest.mark.parametrize("data", ATTACKS.values(), ids=ATTACKS)
def test_the_payload_is_found(data: bytes, name: str) -> None:
    report = report_of(data, name)
    assert "pickle-dangerous-call" in rules_of(report), report.verdict.findings
    assert report.outcome is Outcome.BLOCK


def test_names_that_differ_in_case_are_told() -> None:
    assert "torch-ambiguous-name" in rules_of(report_of(ATTACKS["DATA.PKL, which torch finds as well"], "m.pt"))


MANIFEST = b'{"model": {"handler": "%s", "serializedFile": "model.pt", "modelFile": "net.py"%s}}'
BAD_CODE = b"import os\nos.system('true')\n"


def mar(handler: bytes = b"image_classifier", more: bytes = b"", **files: bytes) -> bytes:
    members = {"model.pt": torch_zip(HONEST), "net.py": b"WIDTH = 3\n"} | {
        k.replace("_", "."): v for k, v in files.items()
    }
    packed = (Packed(name, data) for name, data in members.items())
    return zip_of(Packed("MAR-INF/MANIFEST.json", MANIFEST % (handler, more)), *packed)


SERVED = {
    "a handler": (mar(b"handler.py", handler_py=BAD_CODE), "code-dangerous"),
    "a handler by its function": (mar(b"handler:entry", handler_py=BAD_CODE), "code-dangerous"),
    "a handler whose name is none of Python's": (mar(b"handler.txt", handler_txt=BAD_CODE), "code-dangerous"),
    "an honest handler is for review": (mar(b"handler.py", handler_py=b"def handle(data, context):\n    return data\n"), "code-in-model"),
    "a handler from elsewhere": (mar(b"some.package.handler"), "torchserve-handler"),
    "the file of the model": (mar(net_py=BAD_CODE), "code-dangerous"),
    "the saved model": (mar(model_pt=torch_zip(EVIL)), "pickle-dangerous-call"),
    "a file out of the archive": (mar(more=b', "requirementsFile": "../../r.txt"'), "reference-escapes"),
    "a manifest that is none": (zip_of(Packed("MAR-INF/MANIFEST.json", b"[]"), Packed("m.pkl", HONEST)), "torchserve-malformed"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "rule"), SERVED.values(), ids=SERVED)
def test_what_a_server_would_run_is_told(data: bytes, rule: str) -> None:
    report = report_of(data, "model.mar")
    assert rule in rules_of(report), report.verdict.findings
    assert report.outcome is not Outcome.PASS


def test_a_real_archive_whose_data_was_swapped_is_blocked() -> None:
    data = fixture("torch", "zip-state-dict", "model.pt")
    place = data.index(b"\x80\x02")
    swapped = data[:place] + EVIL + data[place + len(EVIL) :]
    assert report_of(swapped, "model.pt").outcome is Outcome.BLOCK
