"""Published ways to act on a machine through a TensorFlow graph. Nothing here may ever run.

Success rate of the attacks: 0 of those below.
"""

import json
from pathlib import Path

import pytest

from fastness.models.scan import Outcome, scan_paths
from tests.unit.models.scan.artifacts import EVIL, proto, report_of, rules_of
from tests.unit.models.scan.keras_bytes import (
    COMPUTES,
    attr,
    flax_array,
    function,
    graph_def,
    marshalled,
    node,
    pack,
    saved_model,
    text_constant,
)

WRITES = (text_constant("file", "/root/.bashrc"), text_constant("text", "true"), node("w", "WriteFile", "file", "text"))
HIDDEN = {
    "in the graph": saved_model(graph_def(*COMPUTES, *WRITES)),
    "in a function": saved_model(graph_def(*COMPUTES, functions=function("f", *WRITES))),
    "in the second of two graphs": saved_model(graph_def(*COMPUTES)) + proto(2, proto(2, graph_def(*WRITES))),
    "in a second graph of the same": saved_model(graph_def(*COMPUTES), proto(2, graph_def(*WRITES))),
    "under the name of a function": saved_model(graph_def(node("f", "WriteFile"), functions=function("WriteFile", *COMPUTES))),
    "named like another, later": saved_model(graph_def(*COMPUTES, proto(1, "n") + proto(2, "Add") + proto(2, "WriteFile"))),
    "behind a field that nobody knows": proto(1, 1) + proto(77, b"x") + proto(2, proto(2, graph_def(*COMPUTES, *WRITES))),
}  # fmt: skip


@pytest.mark.parametrize("data", HIDDEN.values(), ids=HIDDEN)
def test_files_are_written_from_nowhere_in_the_graph(data: bytes) -> None:
    report = report_of(data, "saved_model.pb")
    assert report.outcome is Outcome.BLOCK, report.verdict.findings
    assert "operator-acts" in rules_of(report)


@pytest.mark.parametrize("name", ["frozen_graph.pb", "model.pb", "model.meta", "weights.bin", "x"])
def test_the_name_hides_nothing(name: str) -> None:
    graph = graph_def(*COMPUTES, *WRITES)
    for data in (graph, saved_model(graph), proto(1, proto(4, "serve")) + proto(2, graph)):
        assert report_of(data, name).outcome is Outcome.BLOCK


def test_python_functions_block() -> None:
    """tf.py_function and tf.numpy_function: the token names a function that the process has registered."""
    for op in ("PyFunc", "PyFuncStateless", "EagerPyFunc"):
        report = report_of(
            saved_model(graph_def(*COMPUTES, node("p", op, attrs=attr("token", proto(2, "pyfunc_0"))))),
            "saved_model.pb",
        )
        assert "operator-runs-code" in rules_of(report)


@pytest.mark.parametrize("op", ["DatasetFromGraph", "DeserializeIterator"])
def test_graphs_within_texts_block(op: str) -> None:
    """The operator runs a graph that stands in a constant."""
    inner = graph_def(*COMPUTES, *WRITES).decode("latin-1")
    graph = graph_def(*COMPUTES, text_constant("g", inner), node("d", op, "g"))
    assert report_of(saved_model(graph), "saved_model.pb").outcome is Outcome.BLOCK


def test_saving_elsewhere_blocks() -> None:
    """SaveV2 writes attacker-chosen bytes to an attacker-chosen path, and stands in every honest SavedModel too."""
    nodes = (text_constant("p", "/root/.ssh/authorized_keys"), node("s", "SaveV2", "p", "n", "x"))
    assert report_of(saved_model(graph_def(*COMPUTES, *nodes)), "saved_model.pb").outcome is Outcome.BLOCK


def test_printing_into_a_file_blocks() -> None:
    printed = node("p", "PrintV2", attrs=attr("output_stream", proto(2, "file:///root/.bashrc")))
    assert report_of(saved_model(graph_def(*COMPUTES, printed)), "saved_model.pb").outcome is Outcome.BLOCK


def test_lambdas_in_the_metadata_of_keras_block() -> None:
    code = {"class_name": "__tuple__", "items": [marshalled("f = lambda x: os.system(x)"), None, None]}
    config = json.dumps({"class_name": "Lambda", "config": {"function_type": "lambda", "function": code}})
    metadata = proto(1, proto(2, 1) + proto(3, "root.layer") + proto(4, "_tf_keras_layer") + proto(5, config))
    report = report_of(metadata, "keras_metadata.pb")
    assert "code-dangerous" in rules_of(report)


def test_payloads_in_the_files_of_variables_and_assets_are_found(tmp_path: Path) -> None:
    for place in (
        "variables/variables.data-00000-of-00001",
        "variables/variables.index",
        "assets/x",
        "assets.extra/x",
        "x.pkl",
        "fingerprint.pb",
    ):
        folder = tmp_path / place.replace("/", "-")
        (folder / place).parent.mkdir(parents=True)
        (folder / "saved_model.pb").write_bytes(saved_model(graph_def(*COMPUTES)))
        (folder / place).write_bytes(EVIL)
        assert Outcome.BLOCK in {report.outcome for report in scan_paths([folder])}, place


def test_object_arrays_in_msgpack_block() -> None:
    """The object dtype of an array: its bytes are taken for addresses."""
    assert report_of(pack({"w": flax_array("object", bytes(8), (1,))}), "flax_model.msgpack").outcome is Outcome.BLOCK
    assert report_of(pack({"w": flax_array("O", EVIL, (1,))}), "model.bin").outcome is Outcome.BLOCK
