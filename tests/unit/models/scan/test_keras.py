"""Keras: models of the library pass, code of somebody's own is for review, and every object of a configuration is judged."""

import json
from pathlib import Path

import pytest

from fastness.core.sources import BytesSource
from fastness.models.scan import Outcome, scan_paths
from fastness.models.scan.budget import Budget, ScanSettings
from fastness.models.scan.bundles import Bundle
from fastness.models.scan.checks.classes import leads_to_danger, vocabulary
from fastness.models.scan.facts import Fact, FactKind
from fastness.models.scan.keras_config import keras_facts
from fastness.models.scan.layouts.keras import Keras
from fastness.models.scan.marshalled import references
from tests.needs import ROOT
from tests.unit.models.scan.artifacts import EVIL, npy, report_of, rules_of
from tests.unit.models.scan.keras_bytes import (
    attribute,
    hdf5,
    keras_zip,
    lambda_layer,
    layer,
    marshalled,
    sequential,
)

FIXTURES = {
    path.name: path.read_bytes()
    for path in sorted((ROOT / "tests/data/artifacts/keras").rglob("*.*"))
    if path.is_file() and path.suffix != ".md"
}
OWN_CODE = {"custom-lambda.keras": "code-in-model", "custom-layer.keras": "class-unknown"}


def facts_of(config: object) -> list[Fact]:
    text = config if isinstance(config, str) else json.dumps(config)
    told = keras_facts(text.encode(), "m", 0, Budget(ScanSettings()))
    return [one for one in told if isinstance(one, Fact)]


def classes_of(config: object) -> set[str]:
    return {fact.name for fact in facts_of(config) if fact.kind is FactKind.CLASS}


@pytest.mark.parametrize("name", [name for name in FIXTURES if name not in OWN_CODE])
def test_models_of_the_library_pass(name: str) -> None:
    report = report_of(FIXTURES[name], name)
    assert report.outcome is Outcome.PASS, report.verdict.findings


@pytest.mark.parametrize("name", OWN_CODE)
def test_code_of_somebodys_own_is_for_review(name: str) -> None:
    report = report_of(FIXTURES[name], name)
    assert report.outcome is Outcome.REVIEW
    assert OWN_CODE[name] in rules_of(report)


def test_a_folder_is_read_like_an_archive(tmp_path: Path) -> None:
    config = sequential(layer("keras.layers", "Dense", {"units": 1}))
    (tmp_path / "assets" / "layers").mkdir(parents=True)
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "metadata.json").write_text('{"keras_version": "3.15.1"}')
    (tmp_path / "model.weights.h5").write_bytes(hdf5(attribute("a", b"b")))
    (tmp_path / "assets" / "layers" / "vocabulary.txt").write_text("the\ncat\n")
    reports = list(scan_paths([tmp_path]))
    assert {report.outcome for report in reports} == {Outcome.PASS}, reports
    (tmp_path / "config.json").write_text(json.dumps(sequential(layer("os", "system", {}))))
    assert Outcome.BLOCK in {report.outcome for report in scan_paths([tmp_path])}


def test_the_layout_claims_what_keras_saves_and_nothing_else() -> None:
    def bundle(name: str, *paths: str) -> Bundle:
        return Bundle(name, {path: BytesSource(path, b"x") for path in paths})

    assert Keras().claims(bundle("m.keras", "config.json"))
    assert Keras().claims(bundle("folder", "config.json", "model.weights.h5"))
    assert Keras().claims(bundle("folder", "one/config.json", "one/model.weights.npz"))
    assert not Keras().claims(bundle("folder", "config.json", "tf_model.h5"))
    assert not Keras().claims(bundle("m.zip", "model.weights.h5"))
    kept = bundle("m.keras", "config.json", "model.weights.h5", "assets/a.json", "x.pkl")
    assert [Keras().reader(path, kept) for path in kept] == ["keras-json", "hdf5", "", ""]


CONFIGS = {
    # name: a part of a configuration, the names that are looked up
    "a class": (layer("keras.layers", "Dense"), {"keras.layers.Dense"}),
    "without a module": ({"class_name": "Dense", "config": {}}, {"Dense"}),
    "module null": (layer(None, "Dense"), {"Dense"}),
    "without a configuration": ({"class_name": "Dense"}, set()),
    "a registered name": (layer("keras.layers", "Dense", registered_name="Mine>Evil"), {"keras.layers.Dense", "Mine>Evil"}),
    "a registered name that is the class": (layer("a.b", "C", registered_name="C"), {"a.b.C"}),
    "a function": (layer("builtins", "function", "relu", registered_name="relu"), {"builtins.relu"}),
    "a function elsewhere": (layer("os", "function", "system", registered_name="x"), {"os.system", "x"}),
    "in a list": ([1, [layer("a", "B")]], {"a.B"}),
    "in a wrapper": (layer("k", "T", {"layer": layer("a", "B")}), {"k.T", "a.B"}),
    "in an initializer": (layer("k", "D", {"kernel_initializer": layer("builtins", "exec")}), {"k.D", "builtins.exec"}),
    "in build_config": (layer("k", "D", build_config={"x": layer("a", "B")}), {"k.D", "a.B"}),
    "in compile_config": (layer("k", "D", compile_config={"optimizer": layer("a", "B")}), {"k.D", "a.B"}),
    "in arguments": (layer("k", "D", inbound_nodes=[{"args": [layer("a", "B")], "kwargs": {"c": layer("d", "E")}}]), {"k.D", "a.B", "d.E"}),
    "with an escaped key": ('{"cl\\u0061ss_name": "B", "config": {}, "module": "a"}', {"a.B"}),
    "in a text": ({"inner": json.dumps(layer("a", "B"))}, {"a.B"}),
    "in a text in a text": ({"x": json.dumps({"y": json.dumps(layer("a", "B"))})}, {"a.B"}),
    "a type of tensors": ({"class_name": "__typespec__", "spec_name": "system", "module": "os", "registered_name": None, "config": []}, {"os.system"}),
    "values": ([{"class_name": name, "config": {"value": 1, "dtype": "float32"}} for name in ("__tensor__", "__numpy__", "__bytes__")], set()),
    "a Lambda that names a function": (layer("keras.layers", "Lambda", {"function": "os_system", "function_type": "function"}), {"keras.layers.Lambda", "os_system"}),
    "a function of TensorFlow": (layer("keras.layers", "TFOpLambda", {"function": "io.write_file"}), {"keras.layers.TFOpLambda", "tensorflow.io.write_file"}),
}  # fmt: skip


@pytest.mark.parametrize(("config", "names"), CONFIGS.values(), ids=CONFIGS)
def test_every_object_is_told(config: object, names: set[str]) -> None:
    assert classes_of(config) == names


LOCATIONS = {
    "/etc/passwd": FactKind.REFERENCE,
    "../vocab.txt": FactKind.REFERENCE,
    "file:///etc/passwd": FactKind.REFERENCE,
    "http://169.254.169.254/latest": FactKind.URL,
    "gs://bucket/vocab.txt": FactKind.URL,
}


@pytest.mark.parametrize("location", LOCATIONS)
@pytest.mark.parametrize("kind", ["StringLookup", "IntegerLookup", "TextVectorization"])
def test_vocabularies_in_files_are_told(kind: str, location: str) -> None:
    (fact,) = (
        one for one in facts_of(layer("keras.layers", kind, {"vocabulary": location})) if one.kind is not FactKind.CLASS
    )
    assert (fact.kind, fact.name) == (LOCATIONS[location], location)
    report = report_of(keras_zip(sequential(layer("keras.layers", kind, {"vocabulary": location}))), "m.keras")
    assert report.outcome is not Outcome.PASS


def test_a_vocabulary_of_words_is_none() -> None:
    config = layer("keras.layers", "StringLookup", {"vocabulary": ["a", "/etc/passwd"], "vocabulary_size": 2})
    assert classes_of(config) == {"keras.layers.StringLookup"}
    assert len(facts_of(config)) == 1


ODD = {
    "no JSON": "{",
    "cut off": '{"class_name": "Dense", "config": {',
    "nested too deep": "[" * 100_000,
    "a class that is no text": '{"class_name": ["os"], "config": {}}',
    "a module that is no text": '{"class_name": "Dense", "module": ["os"], "config": {}}',
    "a function that is no text": '{"class_name": "function", "config": {"a": 1}}',
    "a name twice": '{"class_name": "Dense", "class_name": "Lambda", "config": {}}',
    "an array of objects": '{"class_name": "__numpy__", "config": {"value": [], "dtype": "object"}}',
}


@pytest.mark.parametrize("text", ODD.values(), ids=ODD)
def test_odd_configurations_never_pass(text: str) -> None:
    report = report_of(keras_zip(text), "m.keras")
    assert report.outcome is not Outcome.PASS
    assert "reader-failed" not in rules_of(report)


def test_both_of_two_equal_keys_are_told() -> None:
    told = classes_of('{"layers": [{"class_name": "A", "config": {}}], "layers": [{"class_name": "B", "config": {}}]}')
    assert told == {"A", "B"}


def test_what_a_lambda_refers_to_is_explained() -> None:
    (code,) = (
        one for one in facts_of(lambda_layer("f = lambda x: tf.math.reduce_mean(x)")) if one.kind is FactKind.CODE
    )
    assert "tf, math, reduce_mean" in code.name
    assert code.detail["reaches"] == ""
    report = report_of(keras_zip(sequential(lambda_layer("f = lambda x: tf.math.reduce_mean(x)"))), "m.keras")
    assert report.outcome is Outcome.REVIEW


DANGEROUS = {
    "a module's function": ("f = lambda x: __import__('os').system('true')", "os.system"),
    "a name of its own": ("f = lambda x: eval('1')", "eval"),
    "subprocess": ("f = lambda x: subprocess.Popen(['true'])", "subprocess.Popen"),
    "in an inner function": ("f = lambda x: (lambda y: os.popen(y))('true')", "os.popen"),
    "through getattr": ("f = lambda x: getattr(os, 'system')('true')", "os.system"),
}


@pytest.mark.parametrize(("source", "name"), DANGEROUS.values(), ids=DANGEROUS)
def test_dangerous_lambdas_block(source: str, name: str) -> None:
    (code,) = (one for one in facts_of(lambda_layer(source)) if one.kind is FactKind.CODE)
    assert name in str(code.detail["reaches"]).split()
    assert report_of(keras_zip(sequential(lambda_layer(source))), "m.keras").outcome is Outcome.BLOCK


def test_code_of_any_version_is_read_at_least_as_words() -> None:
    import base64

    whole = base64.b64decode(marshalled("f = lambda x: os.system(x)"))
    assert references(whole).whole
    assert references(whole).names == ("os", "system")
    broken = references(whole[:-20])
    assert not broken.whole
    assert "os.system" in broken.dangerous()
    assert references(b"").dangerous() == ()
    assert not references(b"\xe3" + bytes(1000)).whole


OLD_LAMBDA = {
    "name": "l",
    "function": [marshalled("f = lambda x: os.system(x)"), None, None],
    "function_type": "lambda",
}
IN_HDF5 = {
    "a Lambda of Keras 2 (CVE-2025-9905)": (layer(None, "Lambda", OLD_LAMBDA), "code-dangerous"),
    "a gadget": (layer("builtins", "eval", {"source": "1"}), "class-dangerous"),
    "a file": (layer(None, "StringLookup", {"vocabulary": "/etc/passwd"}), "reference-escapes"),
}


@pytest.mark.parametrize("where", ["model_config", "training_config", "anything"])
@pytest.mark.parametrize(("inner", "rule"), IN_HDF5.values(), ids=IN_HDF5)
def test_configurations_in_hdf5_are_walked(inner: dict[str, object], rule: str, where: str) -> None:
    config = {"class_name": "Sequential", "config": {"layers": [inner]}}
    report = report_of(hdf5(attribute(where, json.dumps(config).encode())), "model.h5")
    assert rule in rules_of(report), report.verdict.findings
    assert report.outcome is Outcome.BLOCK


def test_dense_layers_in_hdf5_pass() -> None:
    config = {
        "class_name": "Sequential",
        "config": {"layers": [{"class_name": "Dense", "config": {"units": 2, "activation": "relu"}}]},
    }
    assert report_of(hdf5(attribute("model_config", json.dumps(config).encode())), "model.h5").outcome is Outcome.PASS


def test_weights_and_assets_are_read_too() -> None:
    plain = sequential(layer("keras.layers", "Dense"))
    assert report_of(keras_zip(plain), "m.keras").outcome is Outcome.PASS
    evil_weights = hdf5(attribute("a", EVIL))
    assert report_of(keras_zip(plain, evil_weights), "m.keras").outcome is Outcome.BLOCK
    assert report_of(keras_zip(plain, **{"assets/x/vocabulary.txt": b"a\nb\n"}), "m.keras").outcome is Outcome.PASS
    assert report_of(keras_zip(plain, **{"assets/x/y": EVIL}), "m.keras").outcome is Outcome.BLOCK
    assert report_of(keras_zip(plain, **{"x.npy": npy("'|O'", "(1,)", EVIL)}), "m.keras").outcome is Outcome.BLOCK


def test_a_configuration_alone_is_judged() -> None:
    evil = json.dumps(sequential(layer("os", "system"))).encode()
    assert report_of(evil, "model.json").outcome is Outcome.BLOCK
    assert report_of(b"\xef\xbb\xbf" + json.dumps(sequential()).encode(), "x").outcome is Outcome.PASS


def test_the_json_of_others_is_left_to_others() -> None:
    labels = [{"class_id": 0, "class_name": "dog", "filename": "a/1.jpg", "vocabulary": "x"}]
    assert report_of(json.dumps(labels).encode(), "labels.json").outcome is Outcome.PASS
    vocabulary = json.dumps({"class_name": 1234, "config": 5, "é": 6}).encode()
    assert report_of(vocabulary, "vocab.json").formats == ("json",)
    long = b'{"pad": "' + b"x" * 5000 + b'", "cl\\u0061ss_name": "system", "module": "os", "config": {}}'
    assert report_of(long, "model.json").outcome is Outcome.BLOCK


def test_the_reviewed_names_do_not_contradict_each_other() -> None:
    known = vocabulary("keras")
    assert not known.allowed & set(known.dangerous)
    assert not [name for name in known.allowed if "." in name and leads_to_danger(name)]
    assert {"keras.layers.Dense", "Dense", "builtins.relu", "keras.src.ops.numpy.Mean"} <= known.allowed
    assert not {"Lambda", "keras.layers.Lambda", "builtins.eval", "os.system"} & known.allowed


def test_code_made_to_be_large_takes_no_time() -> None:
    shared = b"\xa9\xff" + b"\xfa\x02os" * 255
    doubling = b")\xff" + b"r\x00\x00\x00\x00" * 255
    code = b"\xe3" + bytes(20) + b"s\0\0\0\0" + b"\xa9\x02" + shared + (b"\xa9\xff" + doubling * 255)
    assert len(references(code).words) <= 160
    assert len(references(b"\xe3" + bytes(20) + b"s\0\0\0\0(\xff\xff\xff\x7f").words) <= 160


def test_many_lambdas_meet_the_bound() -> None:
    names = " + ".join(f"a{number}" for number in range(150))
    layers = [lambda_layer(f"f = lambda x: {names} + b{number}") for number in range(40)]
    report = report_of(json.dumps(sequential(*layers)).encode(), "m.json", opcodes=100_000)
    assert "budget-spent" in rules_of(report)


def test_texts_that_begin_like_json_are_no_configurations() -> None:
    for text in (
        b"[PAD]\n[UNK]\nclass_name\n",
        b'{"class_name": "dog"}\n{"class_name": "cat"}\n',
        b'[ "class_name", \\u0041',
    ):
        assert "keras-json" not in report_of(text, "words.txt").formats
    assert report_of(hdf5(attribute("note", b"{class_name \\u0041")), "m.h5").outcome is Outcome.PASS
    assert report_of(hdf5(attribute("model_config", b'{"class_name": ')), "m.h5").outcome is Outcome.INCOMPLETE
