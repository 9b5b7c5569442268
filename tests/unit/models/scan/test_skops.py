"""skops files: what skops writes passes; nodes that name something else, or lie about it, do not."""

import json
import zipfile
from io import BytesIO

import pytest

from fastness.models.scan import Outcome
from tests.unit.models.scan.artifacts import EVIL, npy, report_of, rules_of
from tests.unit.models.scan.packing import Packed, zip_of
from tests.unit.models.scan.written import fixture, fixtures

HONEST = [(name, files["model.skops"]) for name, files in fixtures("skops") if "model.skops" in files]
Node = dict[str, object]


@pytest.mark.parametrize(("name", "data"), HONEST, ids=[one[0] for one in HONEST])
def test_what_skops_writes_passes_byte_by_byte(name: str, data: bytes) -> None:
    report = report_of(data, "model.skops")
    assert report.outcome is Outcome.PASS, (name, report.verdict.findings)
    assert report.explained_bytes == report.size
    assert "skops" in report.formats


def node(loader: str, path: str, **rest: object) -> Node:
    module, _, name = path.rpartition(".")
    return {"__class__": name, "__module__": module, "__loader__": loader, **rest}


def text(value: object) -> Node:
    return node("JsonNode", "builtins.str", content=json.dumps(value), is_json=True)


def skops(top: Node, **files: bytes) -> bytes:
    schema = json.dumps({**top, "protocol": 2, "_skops_version": "0.16.0"}).encode()
    return zip_of(
        Packed("schema.json", schema), *(Packed(name.replace("_", "."), data) for name, data in files.items())
    )


ITEMS = node("TupleNode", "builtins.tuple", content=[text("true")])
HOSTILE = {
    "a function": node("FunctionNode", "os.system"),
    "a class that starts programs": node("ConstructorFromReduceNode", "subprocess.Popen", content=ITEMS),
    "a type": node("TypeNode", "subprocess.Popen"),
    "an object of it": node("ObjectNode", "subprocess.Popen", content=node("DictNode", "builtins.dict", content={})),
    "within a partial": node("PartialNode", "functools.partial", content={"func": node("FunctionNode", "builtins.exec"), "args": ITEMS}),
    "as a factory": node("DefaultDictNode", "collections.defaultdict", content={"default_factory": node("TypeNode", "os.system")}),
    "within an array": node("NdArrayNode", "numpy.ndarray", type="json", content=[node("FunctionNode", "os.system")], shape=ITEMS),
    "as the key of a dict": node("DictNode", "builtins.dict", content={}, key_types=node("ListNode", "builtins.list", content=[node("TypeNode", "os.system")])),
    "a subclass of an array": node("NdArrayNode", "os.system", type="numpy", file="a.npy"),
    "a random generator": node("RandomGeneratorNode", "numpy.random.Generator", content={"bit_generator": node("DictNode", "builtins.dict", content={"bit_generator": text("../os.system")})}),
    "CVE-2025-54412: an operator of another name": node("OperatorFuncNode", "sklearn.utils.call", attrs=ITEMS),
    "an operator that calls": node("OperatorFuncNode", "operator.call", attrs=ITEMS),
    "CVE-2025-54413: a method of another object": node(
        "MethodNode", "sklearn.svm._classes.SVC", content={"func": "system", "obj": node("TypeNode", "os.path")},
    ),
    "a method that walks": node(
        "MethodNode", "builtins.dict", content={"func": "a.b", "obj": node("DictNode", "builtins.dict", content={})},
    ),
    "a private method": node(
        "MethodNode", "builtins.dict", content={"func": "__reduce__", "obj": node("DictNode", "builtins.dict", content={})},
    ),
    "a dotted class": node("TypeNode", "os.x") | {"__class__": "path.os.system"},
    "bytes of another class": node("BytesNode", "subprocess.Popen", file="a.npy"),
}  # fmt: skip


@pytest.mark.parametrize("top", HOSTILE.values(), ids=HOSTILE)
def test_nodes_that_lead_to_code_are_never_passed(top: Node) -> None:
    inner = node(
        "ObjectNode", "sklearn.svm._classes.SVC", content=node("DictNode", "builtins.dict", content={"x": top})
    )
    for one in (top, inner):
        report = report_of(skops(one, a_npy=npy("'<f4'", "(4,)", bytes(16))), "model.skops")
        assert rules_of(report) & {"class-dangerous", "class-unknown", "skops-disguised-node"}, report.verdict.findings
        assert report.outcome in {Outcome.BLOCK, Outcome.REVIEW}


def test_a_class_on_no_list_is_for_review() -> None:
    report = report_of(skops(node("ObjectNode", "my.package.Model")), "model.skops")
    assert rules_of(report) == {"class-unknown"}
    assert report.outcome is Outcome.REVIEW


def test_a_kind_of_node_that_is_not_known_is_for_review() -> None:
    report = report_of(skops(node("NewNode", "builtins.dict")), "model.skops")
    assert "skops-node-kind" in rules_of(report)


def test_a_key_that_stands_twice_is_blocked() -> None:
    schema = b'{"__loader__": "TypeNode", "__module__": "builtins", "__class__": "int", "__module__": "os"}'
    assert "skops-disguised-node" in rules_of(report_of(zip_of(Packed("schema.json", schema)), "model.skops"))


@pytest.mark.parametrize(
    "schema", [b'{"__loader__": "TypeNode"', b'{"__loader__":' + b"[" * 100_000, b'"__loader__" \xff']
)
def test_a_schema_that_is_none_is_incomplete(schema: bytes) -> None:
    report = report_of(zip_of(Packed("schema.json", schema)), "model.skops")
    assert "skops-malformed" in rules_of(report)
    assert report.outcome is not Outcome.PASS


def test_objects_in_an_array_and_pickles_beside_are_found() -> None:
    array = node("NdArrayNode", "numpy.ndarray", type="numpy", file="a.npy")
    assert report_of(skops(array, a_npy=npy("'|O'", "(1,)", EVIL)), "model.skops").outcome is Outcome.BLOCK
    assert report_of(skops(array, a_npy=EVIL), "model.skops").outcome is Outcome.BLOCK


def test_a_file_that_is_not_there_is_told() -> None:
    array = node("NdArrayNode", "numpy.ndarray", type="numpy", file="../../a.npy")
    assert report_of(skops(array), "model.skops").outcome is Outcome.BLOCK


def test_a_pickle_that_is_called_skops_is_found() -> None:
    """CVE-2025-54886: a loader that falls back to joblib."""
    report = report_of(EVIL, "model.skops")
    assert report.outcome is Outcome.BLOCK
    assert "name-mismatch" in rules_of(report)


def test_the_schema_of_a_real_file_can_be_read_by_hand() -> None:
    data = fixture("skops", HONEST[0][0], "model.skops")
    assert "__loader__" in json.loads(zipfile.ZipFile(BytesIO(data)).read("schema.json"))
