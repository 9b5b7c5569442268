"""TensorFlow: what the library writes passes; operators that act, paths of the model's choice and odd bytes do not."""

import struct
from pathlib import Path

import pytest

from fastness.core.sources import BytesSource
from fastness.models.scan import Outcome, scan_paths
from fastness.models.scan.bundles import Bundle
from fastness.models.scan.checks.operators import acting_operators, known_operators, running_operators
from fastness.models.scan.facts import Look
from fastness.models.scan.layouts.savedmodel import SavedModel
from fastness.models.scan.readers.tensorflow_graph import TensorflowGraphReader
from fastness.models.scan.readers.tensorflow_text import TensorflowTextReader
from fastness.models.scan.report import Report
from tests.needs import ROOT
from tests.unit.models.scan.artifacts import EVIL, proto, report_of, rules_of
from tests.unit.models.scan.keras_bytes import (
    COMPUTES,
    attr,
    function,
    graph_def,
    node,
    saved_model,
    text_constant,
)

FOLDER = ROOT / "tests/data/artifacts/tensorflow"
MODELS = {path.name: path for path in sorted(FOLDER.iterdir()) if path.is_dir()}
INDEX = (FOLDER / "savedmodel-linear/variables/variables.index").read_bytes()
GRAPH = (FOLDER / "savedmodel-linear/saved_model.pb").read_bytes()


def graph_report(*nodes: bytes, functions: bytes = b"", more: bytes = b"", name: str = "saved_model.pb") -> Report:
    return report_of(saved_model(graph_def(*COMPUTES, *nodes, functions=functions), more), name)


@pytest.mark.parametrize("path", MODELS.values(), ids=MODELS)
def test_what_the_library_writes_passes(path: Path) -> None:
    reports = list(scan_paths([path]))
    assert {report.outcome for report in reports} == {Outcome.PASS}, reports
    assert all(report.explained_bytes == report.size for report in reports)


ACTS = [
    "ReadFile",
    "WriteFile",
    "MatchingFiles",
    "TextLineDataset",
    "SqlDataset",
    "CreateSummaryFileWriter",
    "RpcClient",
    "DebugIdentityV2",
    "Abort",
]
RUNS = ["PyFunc", "PyFuncStateless", "EagerPyFunc"]
UNKNOWN = ["XlaCallModule", "XlaCustomCallV2", "SomebodysOwnOp", "DecodeProtoV2", "Mine>Op", "RemoteCall"]


@pytest.mark.parametrize("op", ACTS + RUNS)
def test_operators_that_act_or_run_code_block(op: str) -> None:
    rule = "operator-runs-code" if op in RUNS else "operator-acts"
    inner = function("f", node("n", op))
    for report in (graph_report(node("n", op)), graph_report(functions=inner)):
        assert report.outcome is Outcome.BLOCK
        assert rule in rules_of(report)
    assert report_of(graph_def(*COMPUTES, node("n", op)), "frozen.pb").outcome is Outcome.BLOCK
    assert report_of(graph_def(*COMPUTES, node("n", op)), "model.bin").outcome is Outcome.BLOCK


@pytest.mark.parametrize("op", UNKNOWN)
def test_operators_on_no_list_are_for_review(op: str) -> None:
    assert graph_report(node("n", op)).outcome is Outcome.REVIEW


def test_functions_that_the_model_defines_are_judged_by_what_is_in_them() -> None:
    assert graph_report(node("n", "mine"), functions=function("mine", *COMPUTES)).outcome is Outcome.PASS
    assert graph_report(node("n", "mine"), functions=function("mine", node("p", "PyFunc"))).outcome is Outcome.BLOCK
    shadow = graph_report(node("n", "PyFunc"), functions=function("PyFunc", *COMPUTES))
    assert shadow.outcome is Outcome.BLOCK


def test_lists_of_operators_do_not_overlap() -> None:
    known, acting, running = (table()["tensorflow"] for table in (known_operators, acting_operators, running_operators))
    assert not known & (acting | running)
    assert {"SaveV2", "RestoreV2", "MergeV2Checkpoints", "DecodeRaw", "StatefulPartitionedCall"} <= known


def saves(*names: str) -> bytes:
    return node("save", "SaveV2", *names)


PATHS = {
    # name: nodes, whether it is the model's own choice
    "a placeholder": ([node("p", "Placeholder"), saves("p")], False),
    "a constant": ([text_constant("p", "/etc/cron.d/x"), saves("p")], True),
    "a constant of the library's": ([text_constant("p", "model"), saves("p")], False),
    "a part of one": ([node("p", "Placeholder"), text_constant("q", "/part"), node("j", "StringJoin", "p", "q"), saves("j")], False),
    "a constant in front": ([node("p", "Placeholder"), text_constant("q", "/home/"), node("j", "StringJoin", "q", "p"), saves("j")], True),
    "up and away": ([node("p", "Placeholder"), text_constant("q", "/../../x"), node("j", "StringJoin", "p", "q"), saves("j")], True),
    "an address": ([text_constant("p", "gs://bucket/x"), saves("p")], True),
    "through identities": ([text_constant("p", "/etc/x"), node("i", "Identity", "p"), node("s", "ShardedFilename", "i:0", "x", "x"), saves("s")], True),
    "a choice": ([text_constant("p", "/etc/x"), node("q", "Placeholder"), node("s", "SelectV2", "c", "q", "p"), saves("s")], True),
    "restored": ([text_constant("p", "/etc/x"), node("r", "RestoreV2", "p")], True),
    "merged": ([text_constant("p", "/etc/x"), node("q", "Placeholder"), node("r", "MergeV2Checkpoints", "q", "p")], True),
    "a table": ([text_constant("p", "/etc/passwd"), node("r", "InitializeTableFromTextFileV2", "t", "p")], True),
    "a circle": ([node("a", "Identity", "b"), node("b", "Identity", "a"), saves("a")], False),
}  # fmt: skip


@pytest.mark.parametrize(("nodes", "own"), PATHS.values(), ids=PATHS)
def test_a_model_saves_and_restores_itself_where_the_caller_says(nodes: list[bytes], own: bool) -> None:
    report = graph_report(*nodes)
    assert report.outcome is (Outcome.BLOCK if own else Outcome.PASS), report.verdict.findings
    inner = graph_report(functions=function("f", *nodes))
    assert inner.outcome is report.outcome


def test_attributes_that_are_paths_are_told() -> None:
    vocabulary = attr("vocab_file", proto(2, "/etc/passwd"))
    assert "reference-escapes" in rules_of(graph_report(node("n", "FixedUnigramCandidateSampler", attrs=vocabulary)))
    printed = attr("output_stream", proto(2, "file:///etc/cron.d/x"))
    assert graph_report(node("n", "PrintV2", attrs=printed)).outcome is Outcome.BLOCK
    assert graph_report(node("n", "PrintV2", attrs=attr("output_stream", proto(2, "stderr")))).outcome is Outcome.PASS
    assert (
        graph_report(node("n", "FixedUnigramCandidateSampler", attrs=attr("vocab_file", b"\x12\x00"))).outcome
        is Outcome.PASS
    )


def test_assets_stand_beside_the_model() -> None:
    def asset(name: str) -> bytes:
        return proto(6, proto(1, proto(1, "p:0")) + proto(2, name))

    evil = saved_model(graph_def(*COMPUTES), asset("../../etc/passwd"))
    assert "reference-escapes" in rules_of(report_of(evil, "saved_model.pb"))
    table = graph_def(text_constant("p", "/home/x/words.txt"), node("r", "InitializeTableFromTextFileV2", "t", "p"))
    report = report_of(saved_model(table, asset("words.txt")), "saved_model.pb")
    assert rules_of(report) == {"reference-outside"}


def test_savers_that_somebody_registered_are_for_review() -> None:
    objects = proto(7, proto(1, proto(16, proto(1, "Mine>saver"))))
    assert graph_report(more=objects).outcome is Outcome.REVIEW


def test_configurations_of_keras_in_a_savedmodel_are_walked() -> None:
    config = (
        b'{"class_name": "Sequential", "config": {"layers": [{"class_name": "system", "module": "os", "config": {}}]}}'
    )
    metadata = proto(1, proto(2, 1) + proto(3, "root") + proto(4, "_tf_keras_layer") + proto(5, config))
    assert report_of(metadata, "keras_metadata.pb").outcome is Outcome.BLOCK
    objects = proto(7, proto(1, proto(4, proto(1, "_tf_keras_layer") + proto(3, config))))
    assert graph_report(more=objects).outcome is Outcome.BLOCK


BROKEN = {
    "a field that nobody knows": (saved_model(graph_def(*COMPUTES), proto(99, b"x")), Outcome.REVIEW),
    "without a graph": (proto(1, 1) + proto(2, b""), Outcome.INCOMPLETE),
    "a node without an operator": (saved_model(proto(1, proto(1, "x"))), Outcome.INCOMPLETE),
    "a length of 2^62": (proto(1, 1) + b"\x12" + b"\xff" * 8 + b"\x3f", Outcome.INCOMPLETE),
    "a wrong wire type": (saved_model(graph_def(*COMPUTES)) + b"\x10\x05", Outcome.INCOMPLETE),
    "a pickle in a tensor": (saved_model(graph_def(*COMPUTES, node("c", "Const", attrs=attr("value", proto(8, proto(4, EVIL)))))), Outcome.BLOCK),
    "zeros": (bytes(16), Outcome.INCOMPLETE),
}  # fmt: skip


@pytest.mark.parametrize(("data", "outcome"), BROKEN.values(), ids=BROKEN)
def test_what_is_odd_never_passes(data: bytes, outcome: Outcome) -> None:
    report = report_of(data, "saved_model.pb")
    assert report.outcome is outcome, report.verdict.findings


def test_nesting_has_an_end() -> None:
    inner = b""
    for _ in range(3000):
        inner = proto(1, "x") + proto(2, proto(10, proto(1, "f") + proto(2, inner)))
    report = graph_report(node("n", "Identity") + proto(5, inner))
    assert report.outcome is Outcome.INCOMPLETE


def test_graphs_without_a_name_are_known_by_their_content() -> None:
    for data in (
        GRAPH,
        (FOLDER / "frozen/frozen.pb").read_bytes(),
        saved_model(graph_def(*COMPUTES)),
        graph_def(*COMPUTES),
    ):
        assert TensorflowGraphReader().claims(Look(BytesSource("model.bin", data)))
        assert report_of(data, "model.bin").formats[-1:] == ("tensorflow-graph",)
    for data in (b"", b"\x08\x01", b"plain text", bytes(5000), b"\x0a" * 5000, EVIL):
        assert not TensorflowGraphReader().claims(Look(BytesSource("model.bin", data)))


# ---------------------------------------------------------------- text
TEXT = (FOLDER / "frozen-text/frozen.pbtxt").read_text()
IN_TEXT = {
    "the library's": (TEXT, Outcome.PASS),
    "with comments and other marks": ("# a graph\nnode: < name: 'x', op: 'Placeholder'; >\nnode { op: \"Identity\" input: ['x'] }", Outcome.PASS),
    "an operator that runs code": (TEXT + 'node { name: "p" op: "PyFunc" }', Outcome.BLOCK),
    "with escapes": (TEXT + 'node { name: "p" op: "\\x50y\\106unc" }', Outcome.BLOCK),
    "in a function": (TEXT + 'library { function { signature { name: "f" } node_def { name: "p" op: "ReadFile" } } }', Outcome.BLOCK),
    "a path": (TEXT + 'node { name: "p" op: "Const" attr { key: "value" value { tensor { string_val: "/etc/x" } } } } node { name: "s" op: "SaveV2" input: "p" }', Outcome.BLOCK),
    "an asset": ('meta_graphs { graph_def { node { name: "x" op: "Placeholder" } } asset_file_def { filename: "../x" } }', Outcome.BLOCK),
    "a function of its own": ('library { function { signature { name: "f" } node_def { op: "Add" } } } node { op: "f" }', Outcome.PASS),
    "broken": (TEXT + "node {", Outcome.INCOMPLETE),
    "closed too often": (TEXT + "}", Outcome.INCOMPLETE),
    "no operator": ("versions { producer: 1 }", Outcome.INCOMPLETE),
    "nested too deep": ("node {" + "attr { " * 5000, Outcome.INCOMPLETE),
}  # fmt: skip


@pytest.mark.parametrize(("text", "outcome"), IN_TEXT.values(), ids=IN_TEXT)
def test_graphs_in_text(text: str, outcome: Outcome) -> None:
    report = report_of(text.encode(), "saved_model.pbtxt")
    assert report.outcome is outcome, report.verdict.findings
    assert "tensorflow-text" in report.formats


def test_other_text_is_no_graph() -> None:
    for text in (b"", b"hello world", b"nodes are\n", b'{"node": 1}'):
        assert not TensorflowTextReader().claims(Look(BytesSource("a.txt", text)))


# ---------------------------------------------------------------- checkpoints
def test_an_index_cut_or_changed_never_passes_by_mistake() -> None:
    for end in range(len(INDEX)):
        report = report_of(INDEX[:end], "variables.index")
        assert report.outcome is not Outcome.PASS, end
    for at in range(len(INDEX) - 8):
        changed = INDEX[:at] + b"\xff" + INDEX[at + 1 :]
        assert "reader-failed" not in rules_of(report_of(changed, "variables.index")), at


def test_bytes_between_the_blocks_of_an_index_are_seen() -> None:
    at = len(INDEX) - 48
    assert report_of(INDEX[:at] + b"hidden" + INDEX[at:], "variables.index").outcome is Outcome.INCOMPLETE


STATES = {
    'model_checkpoint_path: "ckpt-1"\nall_model_checkpoint_paths: "ckpt-1"\n': "reference-outside",
    'model_checkpoint_path: "/home/x/ckpt-1"\n': "tensorflow-checkpoint-path",
    'model_checkpoint_path: "/home/../etc/ckpt-1"\n': "reference-escapes",
    'model_checkpoint_path: "../ckpt-1"\n': "reference-escapes",
    'model_checkpoint_path: "s3://bucket/ckpt"\n': "reference-escapes",
    "model_checkpoint_path: 5\n": "tensorflow-index-malformed",
}


@pytest.mark.parametrize("text", STATES)
def test_states_of_checkpoints(text: str) -> None:
    assert STATES[text] in rules_of(report_of(text.encode(), "checkpoint"))


# ---------------------------------------------------------------- layout
def bundle_of(*paths: str) -> Bundle:
    return Bundle("m", {path: BytesSource(path, b"x") for path in paths})


def test_files_of_a_savedmodel_are_known_by_their_place() -> None:
    found = bundle_of(
        "1/saved_model.pb",
        "1/variables/variables.index",
        "1/variables/variables.data-00000-of-00001",
        "1/assets/v.txt",
        "x.data-00000-of-00001",
    )
    layout = SavedModel()
    assert layout.claims(found)
    assert [layout.reader(path, found) for path in found] == ["tensorflow-graph", "tensorflow-bundle", "raw", "", ""]
    assert not layout.claims(bundle_of("a.pb", "b.index", "c.data-00000-of-00001"))
    assert layout.claims(bundle_of("ckpt-1.index", "ckpt-1.data-00000-of-00002"))


def test_payloads_beside_the_graph_are_found(tmp_path: Path) -> None:
    (tmp_path / "variables").mkdir()
    (tmp_path / "assets").mkdir()
    (tmp_path / "saved_model.pb").write_bytes(saved_model(graph_def(*COMPUTES)))
    (tmp_path / "variables" / "variables.index").write_bytes(INDEX)
    numbers = tmp_path / "variables" / "variables.data-00000-of-00001"
    numbers.write_bytes(struct.pack("<4f", 1, 2, 3, 4))
    (tmp_path / "assets" / "words.bin").write_bytes(b"\x01\x02\x03\xff")
    (tmp_path / "assets.extra").mkdir()
    (tmp_path / "assets.extra" / "tf_serving_warmup_requests").write_bytes(b"\x01\x02\x03\xff")
    (tmp_path / "debug").mkdir()
    (tmp_path / "debug" / "saved_model_debug_info.pb").write_bytes(proto(1, "model.py"))
    (tmp_path / "tfhub_module.pb").write_bytes(proto(1, 3))
    assert {report.outcome for report in scan_paths([tmp_path])} == {Outcome.PASS}
    numbers.write_bytes(EVIL)
    assert Outcome.BLOCK in {report.outcome for report in scan_paths([tmp_path])}
    numbers.write_bytes(bytes(16))
    (tmp_path / "assets" / "words.bin").write_bytes(EVIL)
    assert Outcome.BLOCK in {report.outcome for report in scan_paths([tmp_path])}


def test_two_graphs_are_for_review(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(saved_model(graph_def(*COMPUTES)))
    (tmp_path / "saved_model.pbtxt").write_text(f"meta_graphs {{ graph_def {{ {TEXT} }} }}")
    rules = {rule for report in scan_paths([tmp_path]) for rule in rules_of(report)}
    assert rules == {"savedmodel-two-graphs"}


def test_deep_nesting_is_no_error_under_any_name() -> None:
    inner = b""
    for _ in range(600):
        inner = proto(1, "x") + proto(2, proto(10, proto(1, "f") + proto(2, inner)))
    for data in (
        graph_def(node("n", "Identity") + proto(5, inner)),
        saved_model(graph_def(node("n", "A") + proto(5, inner))),
    ):
        report = report_of(data, "model.bin")
        assert report.outcome is not Outcome.PASS
        assert "reader-failed" not in rules_of(report)


def test_comments_without_end_take_no_time() -> None:
    for text in (
        "node { op: 'A' } " + "#" * 200_000,
        "node { " + "# \n" * 50_000 + "$",
        'node { op: "' + "\\a" * 100_000,
    ):
        assert "reader-failed" not in rules_of(report_of(text.encode(), "g.pbtxt"))
    state = b'model_checkpoint_path: "a"\n' + b" " * 300_000 + b"x"
    assert "tensorflow-index-malformed" in rules_of(report_of(state, "checkpoint"))


def test_a_node_of_many_inputs_takes_little_memory() -> None:
    many = node("n", "AddN") + proto(3, "x") * 200_000
    assert report_of(saved_model(graph_def(*COMPUTES, many)), "saved_model.pb").outcome is Outcome.PASS
    parts = b"".join(attr(f"a{number}", proto(3, 1)) for number in range(5000))
    assert (
        report_of(saved_model(graph_def(node("n", "AddN", attrs=parts))), "saved_model.pb").outcome
        is Outcome.INCOMPLETE
    )


def test_names_that_others_use_too_promise_nothing() -> None:
    labels = b"item {\n  id: 1\n  name: 'dog'\n}\n"
    for name in ("label_map.pbtxt", "vectors.index"):
        assert "name-mismatch" not in rules_of(report_of(labels, name))
    assert report_of(labels, "label_map.pbtxt").outcome is Outcome.PASS
    assert report_of(b"no message, but {", "label_map.pbtxt").outcome is Outcome.INCOMPLETE
    assert report_of(labels + b'node { op: "PyFunc" }', "label_map.pbtxt").outcome is Outcome.BLOCK
