"""Torch's files of all ages: what torch writes passes, and a payload in each of its fields is found."""

import io
import json
import pickle
import struct
import zipfile

import pytest

from fastness.models.scan import Outcome
from tests.unit.models.scan.artifacts import EVIL, SYSTEM, call, report_of, rules_of, stream, text
from tests.unit.models.scan.packing import Packed, tar_of, torch_zip, zip_of
from tests.unit.models.scan.programs import ELF, PE
from tests.unit.models.scan.written import fixture, fixtures

HONEST = [
    (name, path, data) for name, files in fixtures("torch") for path, data in files.items() if path != "SOURCES.md"
]
ZIPS = [one for one in HONEST if one[2].startswith(b"PK")]
OLD = [one for one in HONEST if one[0].startswith("legacy-")]


@pytest.mark.parametrize(("name", "path", "data"), HONEST, ids=[one[0] for one in HONEST])
def test_what_torch_writes_passes_byte_by_byte(name: str, path: str, data: bytes) -> None:
    report = report_of(data, path)
    assert report.outcome is (Outcome.REVIEW if name == "package" else Outcome.PASS), report.verdict.findings
    assert report.explained_bytes == report.size


def test_archives_are_read_by_the_layout_and_old_files_by_their_reader() -> None:
    assert all("torch" in report_of(data, path).formats for _, path, data in ZIPS)
    assert all(report_of(data, path).formats == ("torch-legacy",) for _, path, data in OLD)


def changed(data: bytes, member: str, content: bytes) -> bytes:
    """The archive with other bytes in the members whose names end so."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as before, zipfile.ZipFile(out, "w") as after:
        for info in before.infolist():
            known = before.read(info)
            after.writestr(zipfile.ZipInfo(info.filename), content if info.filename.endswith(member) else known)
    return out.getvalue()


SCRIPT = fixture("torch", "script", "model.pt")
FIELDS = ["/data.pkl", "/constants.pkl", ".debug_pkl"]


@pytest.mark.parametrize("member", FIELDS)
def test_every_pickle_of_torchscript_is_hostile(member: str) -> None:
    assert report_of(changed(SCRIPT, member, EVIL), "model.pt").outcome is Outcome.BLOCK


def test_the_bytecode_for_mobile_is_hostile() -> None:
    data = changed(fixture("torch", "script-mobile", "model.ptl"), "/bytecode.pkl", EVIL)
    assert report_of(data, "model.ptl").outcome is Outcome.BLOCK


def code(body: str) -> bytes:
    return f"class Gate(Module):\n  def forward(self: __torch__.Gate,\n    x: Tensor) -> Tensor:\n{body}\n    return x\n".encode()


CALLS = {
    '    _0 = torch.save(x, "/etc/cron.d/x")': "torchscript-file-access",
    '    _0 = torch.from_file("/etc/passwd", True, 9)': "torchscript-file-access",
    '    _0 = ops.aten.from_file("/etc/passwd", True, 9)': "torchscript-file-access",
    '    _0 = torch . save(x, "a")': "torchscript-file-access",
    '    _0 = torch.ops.aten.save(x, "a")': "torchscript-file-access",
    "    _0 = ops.evil.run(x)": "torchscript-foreign-operator",
    "    _0 = torch.ops.evil.run(x)": "torchscript-foreign-operator",
    "    _0 = __torch__.torch.classes.evil.Runner()": "torchscript-foreign-operator",
}


@pytest.mark.parametrize(("body", "rule"), CALLS.items())
def test_operators_of_files_and_of_others_are_told(body: str, rule: str) -> None:
    report = report_of(
        changed(SCRIPT, "/__torch__.py", code(body)) if b"/__torch__.py" in SCRIPT else coded(body), "m.pt"
    )
    assert rule in rules_of(report), report.verdict.findings
    assert report.outcome is not Outcome.PASS


def coded(body: str) -> bytes:
    return torch_zip(
        stream(b"N", 2), [Packed("archive/constants.pkl", stream(b")", 2)), Packed("archive/code/g.py", code(body))]
    )


def test_names_in_texts_and_comments_of_torchscript_are_no_calls() -> None:
    body = "    a = 'torch.save(x)'  # ops.evil.run(x)\n    b = torch.nn.functional\n    c = ops.prim.device(x)"
    assert not rules_of(report_of(coded(body), "m.pt")) & {"torchscript-file-access", "torchscript-foreign-operator"}


def test_torchscript_that_is_no_text_is_incomplete() -> None:
    data = torch_zip(stream(b"N", 2), [Packed("archive/code/g.py", b"\xff\xfe\0\0")])
    assert "torchscript-not-text" in rules_of(report_of(data, "m.pt"))


def test_code_of_a_package_is_judged_as_code_that_loading_runs() -> None:
    data = changed(fixture("torch", "package", "model.pt"), "/layers.py", b"import os\nos.system('true')\n")
    assert "code-dangerous" in rules_of(report_of(data, "model.pt"))
    assert report_of(changed(data, "/model.pkl", EVIL), "model.pt").outcome is Outcome.BLOCK


SETTINGS = ["/version", "/byteorder", "/.data/serialization_id", "/.format_version", "/.storage_alignment"]


@pytest.mark.parametrize("member", SETTINGS)
def test_settings_hold_nothing_else(member: str) -> None:
    data = changed(fixture("torch", "zip-state-dict", "model.pt"), member, EVIL)
    report = report_of(data, "model.pt")
    assert {"torch-record", "pickle-dangerous-call"} <= rules_of(report), report.verdict.findings


@pytest.mark.parametrize("program", [ELF, PE], ids=["ELF", "PE"])
def test_a_program_in_a_storage_is_told(program: bytes) -> None:
    body = program.ljust(1024, b"\0")
    report = report_of(torch_zip(stream(b"N", 2), [Packed("archive/data/1", body)]), "model.pt")
    assert report.outcome is not Outcome.PASS


def test_a_program_in_a_storage_of_an_old_file_is_told() -> None:
    old = fixture("torch", "legacy-state-dict", "model.pth")
    place = old.index(b"\x20\0\0\0\0\0\0\0", 1000) + 8  # a weight of 32 numbers
    report = report_of(old[:place] + ELF[:128].ljust(128, b"\0") + old[place + 128 :], "model.pth")
    assert report.outcome is not Outcome.PASS


def test_the_byte_order_of_others_is_told() -> None:
    data = changed(fixture("torch", "zip-state-dict", "model.pt"), "/byteorder", b"big")
    assert "torch-byte-order" in rules_of(report_of(data, "model.pt"))


# ---------------------------------------------------------------- before archives


def split(data: bytes) -> list[bytes]:
    """The five pickles, and what follows."""
    file, parts = io.BytesIO(data), []
    for _ in range(5):
        start = file.tell()
        skip(file)
        parts.append(data[start : file.tell()])
    return [*parts, data[file.tell() :]]


def skip(file: io.BytesIO) -> None:
    """Pass over a pickle without loading it."""
    import pickletools

    for _ in pickletools.genops(file):
        pass


@pytest.mark.parametrize("index", range(1, 5))
def test_every_pickle_of_an_old_file_is_hostile(index: int) -> None:
    parts = split(fixture("torch", "legacy-state-dict", "model.pth"))
    parts[index] = parts[index][:2] + SYSTEM + b"0" + parts[index][2:]
    assert report_of(b"".join(parts), "model.pth").outcome is Outcome.BLOCK


def test_the_magic_number_itself_may_call() -> None:
    parts = split(fixture("torch", "legacy-state-dict", "model.pth"))
    parts[0] = parts[0][:-1] + b"0" + SYSTEM + b"0" + parts[0][2:]
    assert report_of(b"".join(parts), "model.pth").outcome is Outcome.BLOCK


def test_what_lies_behind_the_storages_is_not_explained() -> None:
    data = fixture("torch", "legacy-state-dict", "model.pth")
    assert report_of(data + b"more", "model.pth").outcome is Outcome.INCOMPLETE
    assert report_of(data + EVIL, "model.pth").outcome is not Outcome.PASS


def test_a_storage_of_another_length_than_the_pickle_says_is_refused() -> None:
    *parts, storages = split(fixture("torch", "legacy-one-tensor", "model.pth"))
    for count in (0, 1 << 62, -1):
        report = report_of(b"".join(parts) + struct.pack("<q", count) + storages[8:], "model.pth")
        assert "torch-legacy-storages" in rules_of(report)
        assert report.outcome is Outcome.INCOMPLETE


@pytest.mark.parametrize("name", ["legacy-state-dict", "zip-state-dict"])
def test_every_cut_gets_a_verdict_that_is_no_pass(name: str) -> None:
    data = fixture("torch", name, "model.pth" if name.startswith("legacy") else "model.pt")
    for length in range(0, len(data), 53):
        assert report_of(data[:length], "model.pth").outcome is not Outcome.PASS, length


# ---------------------------------------------------------------- tars
def old_tar(storages: bytes = b"", model: bytes = b"", tensors: bytes = b"", info: bytes = b"") -> bytes:
    number = pickle.dumps(1, 2)
    kind = b"ctorch\nFloatStorage\n"
    storage = b"\x80\x02(K\x07X\x03\0\0\0cpu" + kind + b"t." + struct.pack("<q", 4) + bytes(16)
    views = pickle.dumps([], 2)
    tensor = b"\x80\x02(K\x08K\x07ctorch\nFloatTensor\nt." + struct.pack("<ii", 1, 0) + struct.pack("<qqq", 4, 1, 0)
    return tar_of(
        ("sys_info", info or pickle.dumps({"protocol_version": 1000}, 2)),
        ("pickle", model or b"\x80\x02}X\x01\0\0\0wX\x01\0\0\x008Qs."),
        ("tensors", tensors or number + tensor),
        ("storages", storages or number + storage + views),
    )


def test_torchs_oldest_files_are_read() -> None:
    report = report_of(old_tar(), "model.pt")
    assert {"torch-tar", "torch-legacy", "torch-pickle"} <= set(report.formats)
    assert report.outcome is not Outcome.INCOMPLETE, report.verdict.findings


@pytest.mark.parametrize("part", ["storages", "model", "tensors", "info"])
def test_every_part_of_a_tar_is_hostile(part: str) -> None:
    assert report_of(old_tar(**{part: EVIL}), "model.pt").outcome is Outcome.BLOCK


def test_folders_that_torch_does_not_look_into_are_sniffed() -> None:
    """Only what stands under the first folder of a `data.pkl` is numbers."""
    data = torch_zip(stream(b"N", 2), [Packed("other/data/0", EVIL)])
    assert report_of(data, "m.pt").outcome is Outcome.BLOCK


def test_a_payload_beside_a_reviewed_call_is_found() -> None:
    data = torch_zip(stream(call("collections", "OrderedDict") + b"0" + call("builtins", "exec", text("pass")), 2))
    assert report_of(data, "m.pt").outcome is Outcome.BLOCK
    assert report_of(zip_of(Packed("a/data.pkl", EVIL)), "m.pt").outcome is Outcome.BLOCK


# ---------------------------------------------------------------- exported programs
EXPORTED = fixture("torch", "exported", "model.pt2")


@pytest.mark.parametrize(
    ("target", "rule"),
    [
        ("torch.ops.aten.from_file.default", "torchscript-file-access"),
        ("torch.ops.evil.run.default", "torchscript-foreign-operator"),
        ("evil::run", "torchscript-foreign-operator"),
        ("os.system", "torch-export-function"),
        ("builtins.exec", "torch-export-function"),
    ],
)
def test_functions_of_an_exported_graph_are_reviewed(target: str, rule: str) -> None:
    graph = json.dumps({"graph_module": {"graph": {"nodes": [{"target": target, "inputs": []}]}}}).encode()
    report = report_of(changed(EXPORTED, "/models/model.json", graph), "model.pt2")
    assert rule in rules_of(report), report.verdict.findings
    assert report.outcome is not Outcome.PASS


@pytest.mark.parametrize(
    "member", ["/sample_inputs/model.pt", "/archive_version", "/models/model.json", "_config.json"]
)
def test_no_other_file_of_an_exported_program_holds_a_pickle(member: str) -> None:
    assert report_of(changed(EXPORTED, member, EVIL), "model.pt2").outcome is not Outcome.PASS


def test_weights_that_are_pickled_are_read_as_pickles() -> None:
    config = {"config": {"w": {"path_name": "weight_0", "use_pickle": True}}}
    data = changed(EXPORTED, "model_weights_config.json", json.dumps(config).encode())
    assert report_of(changed(data, "/weight_0", torch_zip(EVIL)), "model.pt2").outcome is Outcome.BLOCK
