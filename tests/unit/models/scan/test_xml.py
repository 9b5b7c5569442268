"""XML, and the formats made of it: PMML and OpenVINO."""

from pathlib import Path

import pytest

from fastness.core.sources import BytesSource
from fastness.models.scan import Outcome, scan_paths, xml
from fastness.models.scan.budget import Budget, ScanSettings
from fastness.models.scan.facts import FactKind
from fastness.models.scan.xml import Kind
from tests.unit.models.scan.artifacts import report_of, rules_of
from tests.unit.models.scan.written import fixture, fixtures, read_facts


def events(data: bytes) -> list[xml.Event]:
    return list(xml.events(BytesSource("m", data), Budget(ScanSettings())))


def test_events_come_in_order_with_their_places() -> None:
    found = events(b'<?xml version="1.0"?>\n<a xmlns="u" b="1"><!--c-->x&lt;<d/></a>')
    assert [(e.kind, e.name, e.depth, e.text) for e in found] == [
        (Kind.START, "a", 0, ""),
        (Kind.COMMENT, "", 0, "c"),
        (Kind.TEXT, "", 0, "x<"),
        (Kind.START, "d", 1, ""),
        (Kind.END, "d", 1, ""),
        (Kind.END, "a", 0, ""),
    ]
    assert (found[0].namespace, found[0].attributes, found[0].offset) == ("u", {"b": "1"}, 22)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "utf-16-be", "latin-1", "utf-8-sig"])
def test_encodings(encoding: str) -> None:
    mark = {"utf-16-le": "\ufeff", "utf-16-be": "\ufeff"}.get(encoding, "")
    named = "ISO-8859-1" if encoding == "latin-1" else "UTF-16" if "16" in encoding else "UTF-8"
    text = f"{mark}<?xml version='1.0' encoding='{named}'?><!DOCTYPE a><a>é</a>"
    with pytest.raises(xml.Refused) as refused:
        events(text.encode(encoding))
    assert refused.value.rule is xml.DOCTYPE
    plain = text.replace("<!DOCTYPE a>", "").encode(encoding)
    assert [e.text for e in events(plain) if e.kind is Kind.TEXT] == ["é"]


LAUGHS = b"<!DOCTYPE l [<!ENTITY a 'lol'>" + b"".join(
    b"<!ENTITY a%d '%s'>" % (n, (b"&a%d;" % (n - 1) if n > 1 else b"&a;") * 10) for n in range(1, 9)
)
REFUSED = {
    "entity of a file": (b'<!DOCTYPE P [<!ENTITY x SYSTEM "file:///etc/passwd">]><PMML>&x;</PMML>', "xml-doctype"),
    "entity of an address": (b'<!DOCTYPE P [<!ENTITY x SYSTEM "http://h/">]><PMML>&x;</PMML>', "xml-doctype"),
    "parameter entity": (b'<!DOCTYPE P [<!ENTITY % x SYSTEM "http://h/"> %x;]><PMML/>', "xml-doctype"),
    "outside type": (b'<!DOCTYPE PMML SYSTEM "http://h/x.dtd"><PMML/>', "xml-doctype"),
    "billion laughs": (LAUGHS + b"]><PMML>&a8;</PMML>", "xml-doctype"),
    "an empty type": (b"<!DOCTYPE PMML><PMML/>", "xml-doctype"),
    "behind a comment": (b"<!--" + b"x" * 3000 + b"--><!DOCTYPE PMML><PMML/>", "xml-doctype"),
    "stylesheet": (b'<?xml-stylesheet href="http://h/x.xsl"?><PMML/>', "xml-instruction"),
    "inclusion": (b'<PMML xmlns:i="http://www.w3.org/2001/XInclude"><i:include href="x"/></PMML>', "xml-instruction"),
    "an entity of no type": (b"<PMML>&x;</PMML>", "xml-malformed"),
    "no end": (b"<PMML>", "xml-malformed"),
    "two roots": (b"<PMML/><PMML/>", "xml-malformed"),
    "an attribute twice": (b"<PMML a='1' a='2'/>", "xml-malformed"),
    "bytes behind": (b"<PMML/>PK\x03\x04", "xml-malformed"),
    "a deep tree": (b"<PMML>" * 300 + b"</PMML>" * 300, "xml-malformed"),
    "a million deep": (b"<PMML>" * 1_000_000, "xml-malformed"),
    "a tag without end": (b"<PMML a='" + b"x" * (6 << 20) + b"'/>", "xml-malformed"),
    "an unknown encoding": (b"<?xml version='1.0' encoding='x-none'?><PMML/>", "xml-malformed"),
}


@pytest.mark.parametrize(("data", "rule"), REFUSED.values(), ids=REFUSED)
def test_refused(data: bytes, rule: str) -> None:
    report = report_of(data, "model.pmml")
    assert report.outcome is not Outcome.PASS
    assert rule in rules_of(report)
    assert (report.outcome is Outcome.INCOMPLETE) == (rule == "xml-malformed")


def test_tags_are_counted() -> None:
    assert "budget-spent" in rules_of(report_of(b"<PMML>" + b"<Node/>" * 100 + b"</PMML>", "m.pmml", fields=50))


def pmml(body: str = "", head: str = "") -> bytes:
    return f'<PMML xmlns="http://www.dmg.org/PMML-4_4" version="4.4">{head}<Header/>{body}</PMML>'.encode()


AWS = "AKIA" + "Q7ZT3MNPLK2WXY5R"
APPLY = '<TransformationDictionary><DerivedField><Apply function="{}"/></DerivedField></TransformationDictionary>'
PMML = {
    "plain": (pmml(), "pass", None),
    "a function of its own": (pmml('<TransformationDictionary><DefineFunction name="f"/></TransformationDictionary>' + APPLY.format("f")), "pass", None),
    "a standard function": (pmml(APPLY.format("normalCDF")), "pass", None),
    "a class of Java's": (pmml(APPLY.format("java.lang.Runtime.exec")), "review", "operator-unknown"),
    "a script": (pmml("<script>x</script>"), "block", "operator-runs-code"),
    "an element of another vocabulary": (pmml('<x:thing xmlns:x="urn:x"/>'), "review", "operator-unknown"),
    "an unknown element": (pmml("<Loader/>"), "review", "operator-unknown"),
    "a table elsewhere": (pmml('<TableLocator x="y"/>'), "review", "operator-unknown"),
    "cells of any name": (pmml("<InlineTable><row><anything>1</anything></row></InlineTable>"), "pass", None),
    "an element of another vocabulary in a table": (pmml('<InlineTable><row><x:t xmlns:x="urn:x"/></row></InlineTable>'), "review", "operator-unknown"),
    "a key": (pmml(f"<Annotation>{AWS}</Annotation>"), "review", "credential-in-model"),
    "a key in an attribute": (pmml(f'<Extension name="k" value="{AWS}"/>'), "review", "credential-in-model"),
    "a file": (pmml('<Extension href="../../x"/>'), "block", "reference-escapes"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "outcome", "rule"), PMML.values(), ids=PMML)
def test_pmml(data: bytes, outcome: str, rule: str | None) -> None:
    report = report_of(data, "model.pmml")
    assert report.outcome.value == outcome, report.verdict.findings
    assert rule is None or rule in rules_of(report)


@pytest.mark.parametrize(
    "body",
    ['<Extension name="post" value="javascript:alert(1)"/>', "<Extension name='x'>__import__('os').system('true')</Extension>"],
)  # fmt: skip
def test_a_program_in_an_extension_is_told(body: str) -> None:
    assert read_facts("pmml", pmml(body), FactKind.CODE)


def net(layer: str, rest: str = "") -> bytes:
    return f'<?xml version="1.0"?><net name="m" version="11"><layers>{layer}</layers>{rest}</net>'.encode()


LAYER = '<layer id="0" name="x" type="{}" version="{}" {}/>'
OPENVINO = {
    "plain": (net(LAYER.format("MatMul", "opset1", "")), "pass", None),
    "free words in the notes": (net("", '<rt_info><anything value="1"/></rt_info>'), "pass", None),
    "a library": (net(LAYER.format("Custom", "extension", 'library="/opt/evil.so"')), "block", "reference-escapes"),
    "a library beside": (net(LAYER.format("MatMul", "opset1", 'library="evil.so"')), "block", "reference-outside"),
    "an unlisted layer": (net(LAYER.format("Evil", "opset1", "")), "review", "operator-unknown"),
    "an extension": (net(LAYER.format("MatMul", "extension", "")), "review", "operator-unknown"),
    "a listed extension": (net(LAYER.format("BPETokenizer", "extension", "")), "pass", None),
    "an unlisted layer in a body": (net(f"<layer type='If' version='opset8'><then_body>{LAYER.format('Evil', 'x', '')}</then_body></layer>"), "review", "operator-unknown"),
    "an unknown element": (net("<loader/>"), "review", "openvino-element"),
    "a kernel": (b'<CustomLayer name="x" type="SimpleGPU"><Kernel entry="f"><Source filename="f.cl"/></Kernel></CustomLayer>', "block", "openvino-custom-layer"),
    "a type": (net("").replace(b"<net", b"<!DOCTYPE net><net"), "block", "xml-doctype"),
    "a key": (net("", f"<rt_info><a value='{AWS}'/></rt_info>"), "review", "credential-in-model"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "outcome", "rule"), OPENVINO.values(), ids=OPENVINO)
def test_openvino(data: bytes, outcome: str, rule: str | None) -> None:
    report = report_of(data, "model.xml")
    assert report.outcome.value == outcome, report.verdict.findings
    assert rule is None or rule in rules_of(report)


HONEST = [*fixtures("tables", "pmml"), *fixtures("compiled", "openvino")]


@pytest.mark.parametrize(("name", "files"), HONEST, ids=[name for name, _ in HONEST])
def test_honest_files_pass(tmp_path: Path, name: str, files: dict[str, bytes]) -> None:
    for path, data in files.items():
        (tmp_path / path).write_bytes(data)
    for report in scan_paths([tmp_path]):
        assert report.outcome is Outcome.PASS, report.verdict.findings


def test_weights_that_end_early_block(tmp_path: Path) -> None:
    (tmp_path / "model.xml").write_bytes(fixture("compiled", "openvino-dense", "model.xml"))
    (tmp_path / "model.bin").write_bytes(fixture("compiled", "openvino-dense", "model.bin")[:-1])
    assert "openvino-bounds" in {rule for report in scan_paths([tmp_path]) for rule in rules_of(report)}


LONG = b"<!--" + b"x" * 6000 + b"-->"
EVIL_NET = net(LAYER.format("C", "extension", 'library="/opt/evil.so"')).partition(b"?>")[2]
BEHIND = {
    "a graph": (LONG + EVIL_NET, "reference-escapes"),
    "layers": (EVIL_NET.replace(b"<layers>", LONG + b"<layers>"), "reference-escapes"),
    "a graph behind a declaration": (b"<?xml version='1.0'?>" + LONG * 2 + EVIL_NET, "reference-escapes"),
    "a type": (LONG + b"<!DOCTYPE PMML><PMML/>", "xml-doctype"),
    "a model": (LONG + pmml("<script>x</script>"), "operator-runs-code"),
    "a model in two bytes": (b"\xff\xfe" + (LONG + pmml("<script>x</script>")).decode().encode("utf-16-le"), "operator-runs-code"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "rule"), BEHIND.values(), ids=BEHIND)
def test_a_long_comment_hides_nothing(data: bytes, rule: str) -> None:
    report = report_of(data, "model.xml")
    assert report.outcome is Outcome.BLOCK
    assert rule in rules_of(report)


def test_other_markup_is_left_to_others() -> None:
    assert report_of(LONG + b"<svg/>", "x.xml").formats == ()
    assert report_of(b"<svg><net/></svg>", "x.xml").formats == ()
