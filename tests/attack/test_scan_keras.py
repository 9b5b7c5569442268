"""Published ways to run code, read files and ask addresses by loading a Keras model. Nothing here may ever run.

Success rate of the attacks: 0 of those below: each is blocked, or for review where an honest model looks the same.
"""

import io
import json
import zipfile

import pytest

from fastness.models.scan import Outcome
from tests.unit.models.scan.artifacts import EVIL, npy, report_of, rules_of
from tests.unit.models.scan.keras_bytes import (
    Json,
    attribute,
    hdf5,
    keras_zip,
    lambda_layer,
    layer,
    marshalled,
    other_link,
    sequential,
)

SYSTEM = "f = lambda x: __import__('os').system('true')"


def function(module: str, name: str, *args: object, **kwargs: object) -> Json:
    return layer(
        module, "function", name, registered_name=name, name="x", inbound_nodes=[{"args": list(args), "kwargs": kwargs}]
    )


LAYERS = {
    # name: a layer, a rule that must be among the findings
    "CVE-2024-3660, Lambda": (lambda_layer(SYSTEM), "code-dangerous"),
    "Lambda within TimeDistributed": (layer("keras.layers", "TimeDistributed", {"layer": lambda_layer(SYSTEM)}), "code-dangerous"),
    "Lambda as an output shape": (layer("keras.layers", "Lambda", {"function": "relu", "output_shape": {"class_name": "__lambda__", "config": {"code": marshalled(SYSTEM)}}}), "code-dangerous"),
    "a lambda as a loss": (layer("keras.layers", "Dense", compile_config={"loss": {"class_name": "__lambda__", "config": {"value": marshalled(SYSTEM)}}}), "code-dangerous"),
    "a lambda in a Keras tuple": (layer(None, "Lambda", {"function": {"class_name": "__tuple__", "items": [marshalled(SYSTEM), None, None]}, "function_type": "lambda"}), "code-dangerous"),
    "CVE-2025-1550, a module gadget": (function("os", "system", "true"), "class-dangerous"),
    "CVE-2025-1550, a class": (layer("subprocess", "Popen", {"args": ["true"]}), "class-dangerous"),
    "CVE-2025-8747, get_file": (function("keras.utils", "get_file", "x.tgz", origin="http://127.0.0.1/x.tgz", extract=True), "class-dangerous"),
    "CVE-2025-8747, by its place in the sources": (function("keras.src.utils.file_utils", "get_file", "x"), "class-dangerous"),
    "CVE-2025-9906, safe mode switched off": (function("keras.config", "enable_unsafe_deserialization"), "class-dangerous"),
    "CVE-2025-9906, by its place in the sources": (function("keras.src.saving.serialization_lib", "enable_unsafe_deserialization"), "class-dangerous"),
    "CVE-2025-12058, a file as vocabulary": (layer("keras.layers", "StringLookup", {"vocabulary": "/etc/passwd"}), "reference-escapes"),
    "CVE-2025-12058, an address as vocabulary": (layer("keras.layers", "TextVectorization", {"vocabulary": "http://169.254.169.254/x"}), "url-inside"),
    "CVE-2025-49655, a pickled torch module": (layer("keras.layers", "TorchModuleWrapper", {"module": "UEsDBA=="}), "class-dangerous"),
    "a SavedModel that is loaded": (layer("keras.layers", "TFSMLayer", {"filepath": "/x"}), "class-dangerous"),
    "modelscan PR 340, a nested initializer": (layer("keras.layers", "Dense", {"kernel_initializer": layer("builtins", "exec", {"source": "1"})}), "class-dangerous"),
    "a regularizer": (layer("keras.layers", "Dense", {"kernel_regularizer": function("builtins", "eval", "1")}), "class-dangerous"),
    "a data type policy": (layer("keras.layers", "Dense", {"dtype": layer("os", "system", {"x": 1})}), "class-dangerous"),
    "a metric": (layer("keras.layers", "Dense", compile_config={"metrics": [[layer("runpy", "run_path", {})]]}), "class-dangerous"),
    "an optimizer": (layer("keras.layers", "Dense", compile_config={"optimizer": layer("pickle", "loads", {})}), "class-dangerous"),
    "build_config": (layer("keras.layers", "Dense", build_config={"input_shape": layer("os", "popen", {})}), "class-dangerous"),
    "a type of tensors": ({"class_name": "__typespec__", "module": "os", "spec_name": "system", "registered_name": None, "config": []}, "class-dangerous"),
    "a dotted class": (layer("keras", "src.utils.python_utils.os.system"), "class-dangerous"),
    "a submodule of an allowed module": (layer("keras.layers.os", "system"), "class-dangerous"),
    "numpy.load": (function("numpy", "load", "x"), "class-dangerous"),
    "a loader within Keras": (function("keras.models", "load_model", "x"), "class-dangerous"),
    "another deserializer": (function("keras.saving", "deserialize_keras_object", {}), "class-dangerous"),
    "TFOpLambda that writes a file": (layer("keras.layers", "TFOpLambda", {"function": "io.write_file"}), "class-unknown"),
    "TFOpLambda that runs Python": (layer("keras.layers", "TFOpLambda", {"function": "py_function"}), "class-unknown"),
    "a class of somebody's": (layer("mypackage.layers", "Layer"), "class-unknown"),
    "an allowed class under a registered name": (layer("keras.layers", "Dense", registered_name="Mine>Evil"), "class-unknown"),
}  # fmt: skip


@pytest.mark.parametrize("form", ["keras", "json", "h5", "deep"])
@pytest.mark.parametrize(("inner", "rule"), LAYERS.values(), ids=LAYERS)
def test_layers(inner: Json, rule: str, form: str) -> None:
    config = sequential(inner)
    if form == "deep":
        for number in range(100):
            config = layer("keras.layers", "TimeDistributed", {"name": str(number), "layer": config})
    text = json.dumps(config).encode()
    forms = {"json": (text, "model.json"), "h5": (hdf5(attribute("model_config", text)), "model.h5")}
    data, name = forms.get(form, (keras_zip(config), "model.keras"))
    report = report_of(data, name)
    assert rule in rules_of(report), report.verdict.findings
    assert report.outcome is (Outcome.REVIEW if rule == "class-unknown" else Outcome.BLOCK)


def test_cve_2025_9905_hdf5_ignores_the_safe_mode() -> None:
    function = [marshalled(SYSTEM), None, None]
    config = {
        "class_name": "Sequential",
        "config": {"layers": [{"class_name": "Lambda", "config": {"function": function, "function_type": "lambda"}}]},
    }
    report = report_of(hdf5(attribute("model_config", json.dumps(config).encode())), "model.h5")
    assert "code-dangerous" in rules_of(report)


def test_hdf5_links_into_other_files_block() -> None:
    """CVE-2026-1669 class: weights that are files of the machine."""
    for weights in (
        hdf5(other_link("vars", 64, b"\0/etc/passwd\0/x\0")),
        hdf5(other_link("vars", 64, b"\0../x.h5\0/x\0")),
    ):
        report = report_of(keras_zip(sequential(), weights), "model.keras")
        assert "reference-escapes" in rules_of(report)


def npz(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return out.getvalue()


def test_weights_in_npz_hold_no_objects() -> None:
    """Modelscan PR 262."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("config.json", json.dumps(sequential()))
        archive.writestr("metadata.json", "{}")
        archive.writestr("model.weights.npz", npz(a=npy("'|O'", "(1,)", EVIL)))
    report = report_of(out.getvalue(), "model.keras")
    assert report.outcome is Outcome.BLOCK
    assert "pickle-dangerous-call" in rules_of(report)


def test_weights_that_are_a_pickle_are_found_whatever_they_are_called() -> None:
    report = report_of(keras_zip(sequential(), EVIL), "model.keras")
    assert report.outcome is Outcome.BLOCK


def test_a_second_configuration_is_read_too() -> None:
    config = json.dumps(sequential(layer("os", "system")))
    report = report_of(keras_zip(sequential(), **{"other/config.json": config.encode()}), "model.keras")
    assert report.outcome is Outcome.BLOCK


def test_the_name_hides_nothing() -> None:
    data = keras_zip(sequential(layer("os", "system")))
    for name in ("model.zip", "weights.bin", "model", "model.h5"):
        assert report_of(data, name).outcome is Outcome.BLOCK
    data = hdf5(attribute("model_config", json.dumps(sequential(layer("os", "system"))).encode()))
    for name in ("model.bin", "model.keras", "x"):
        assert report_of(data, name).outcome is Outcome.BLOCK


@pytest.mark.parametrize("escaped", ["cl\\u0061ss_name", "\\u0063lass_name", "class\\u005fname"])
def test_escapes_in_keys_hide_nothing(escaped: str) -> None:
    text = '{"KEY": "system", "module": "os", "config": {}}'.replace("KEY", escaped)
    assert report_of(text.encode(), "model.json").outcome is Outcome.BLOCK
    assert report_of(keras_zip(text), "model.keras").outcome is Outcome.BLOCK
    assert report_of(hdf5(attribute("model_config", text.encode())), "m.h5").outcome is Outcome.BLOCK


def test_a_long_text_in_front_hides_nothing() -> None:
    text = '{"pad": "%s", "class_name": "system", "module": "os", "config": {}}' % ("x" * 3_000_000)
    assert report_of(text.encode(), "model.json").outcome is Outcome.BLOCK


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be", "utf-8-sig"])
def test_other_encodings_of_json_hide_nothing(encoding: str) -> None:
    """Python's parser of JSON takes them all."""
    text = json.dumps(sequential(layer("os", "system"))).encode(encoding)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("config.json", text)
        archive.writestr("model.weights.h5", hdf5(attribute("a", b"b")))
    assert report_of(out.getvalue(), "model.keras").outcome is Outcome.BLOCK
    assert report_of(text, "model.json").outcome is Outcome.BLOCK
