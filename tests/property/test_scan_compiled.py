"""Files of compilers and mobile runtimes, damaged in any way, get a verdict and never an exception."""

from hypothesis import given, settings
from hypothesis import strategies as st

from fastness.models.scan import Outcome
from tests.unit.models.scan.artifacts import onnx_model, report_of, rules_of
from tests.unit.models.scan.test_compiled import CBM, DENSE, HEAD, PACKAGE, PARAMETERS, PIR, PROGRAM, PTE
from tests.unit.models.scan.test_xml import net, pmml

SMALL = {"fields": 50_000, "header_bytes": 1 << 18}
SEEDS = {
    "m.tflite": DENSE, "m.pte": PTE, "m.cbm": CBM, "m.mlmodel": PACKAGE, "n.mlmodel": HEAD, "m.pdmodel": PROGRAM,
    "m.pdiparams": PARAMETERS, "m.json": PIR, "m.xml": net("<layer/>"), "m.pmml": pmml("<Apply function='+'/>"),
    "m.onnx": onnx_model(), "m.engine": b"ftrt" + bytes(40),
}  # fmt: skip


@given(st.sampled_from(list(SEEDS)), st.data())
@settings(max_examples=6 * settings().max_examples)
def test_damaged_files_get_a_verdict(name: str, data: st.DataObject) -> None:
    damaged = bytearray(SEEDS[name])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(damaged)))
        damaged[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    report = report_of(bytes(damaged), name, **SMALL)
    assert "reader-failed" not in rules_of(report), report.verdict.findings
    assert report.outcome is not Outcome.PASS or report.explained_bytes == report.size


@given(st.sampled_from([b"TFL3", b"ET12", b"FT01"]), st.binary(min_size=4, max_size=4), st.binary(max_size=300))
def test_any_tables_get_a_verdict(magic: bytes, root: bytes, data: bytes) -> None:
    for start in (root, b"\x08\0\0\0"):
        assert "reader-failed" not in rules_of(report_of(start + magic + data, "m", **SMALL))


@given(st.text(max_size=300))
def test_any_markup_gets_a_verdict(text: str) -> None:
    for data in (f"<PMML>{text}</PMML>", f"<net><layers>{text}</layers></net>", f"<PMML {text}/>"):
        assert "reader-failed" not in rules_of(report_of(data.encode("utf-8", "replace"), "m", **SMALL))
