"""Ways past the scanner that a second review found, each as the class it is. Nothing here is ever loaded.

Success rate of the attacks: 0 of those below.
"""

import base64
import json
import struct
import zipfile
from collections.abc import Callable
from io import BytesIO

import pytest

from fastness.models.scan import Outcome
from tests.unit.models.scan.artifacts import EVIL, call, npy, report_of, rules_of, stack_global, stream, text
from tests.unit.models.scan.packing import torch_zip
from tests.unit.models.scan.written import fixture

CODE = "__import__('os').system('true')"


def exported(**changes: str) -> bytes:
    """An exported program of torch with an input more, whose size or value is what `changes` say."""
    made = BytesIO()
    with zipfile.ZipFile(BytesIO(fixture("torch", "exported", "model.pt2"))) as old, zipfile.ZipFile(made, "w") as new:
        for entry in old.infolist():
            data = old.read(entry)
            if entry.filename.endswith("models/model.json"):
                data = json.dumps(json.loads(data) | {"more": changes}).encode()
            new.writestr(entry.filename, data)
    return made.getvalue()


def factory(module: str, name: str) -> str:
    context = {"default_factory_module": module, "default_factory_name": name, "dict_context": ["a"]}
    return json.dumps([1, {"type": "collections.defaultdict", "context": context, "children_spec": []}])


# torch.export.load hands the sizes of a graph to sympy.sympify, and texts among the inputs to a guard that it runs.
EXPRESSIONS = {
    "a call": CODE,
    "within arithmetic": f"Add(Symbol('s0'), {CODE})",
    "a text that is read again": f'Add(Symbol("s0"), "{CODE}")',
    "an attribute": "Symbol('s0').__class__",
    "a name": "Symbol(__import__)",
    "a comprehension": "[exit() for _ in (1,)]",
    "a lambda": "(lambda: exit())()",
    "no Python": "s0 +",
    "long": "1+" * 10_000 + "1",
    "deep": "(" * 5_000 + ")" * 5_000,
}


@pytest.mark.parametrize("text", EXPRESSIONS.values(), ids=EXPRESSIONS)
def test_expressions_of_an_exported_graph(text: str) -> None:
    report = report_of(exported(expr_str=text), "model.pt2")
    assert report.outcome is Outcome.BLOCK
    assert "torch-export-expression" in rules_of(report)


def test_a_function_that_torch_does_not_write_in_an_expression() -> None:
    assert report_of(exported(expr_str="system(Symbol('s0'))"), "model.pt2").outcome is Outcome.REVIEW


def test_a_text_that_leaves_the_quotes_of_a_guard() -> None:
    assert report_of(exported(as_string=f"x' or {CODE} or '"), "model.pt2").outcome is Outcome.BLOCK


def test_a_default_whose_maker_is_imported() -> None:
    assert report_of(exported(in_spec=factory("os", "abort")), "model.pt2").outcome is Outcome.REVIEW
    assert report_of(exported(in_spec=factory("builtins", "list")), "model.pt2").outcome is Outcome.PASS


HONEST = {
    "a symbol": "Symbol('s77', positive=True, integer=True)",
    "arithmetic": "Mul(Integer(2), Symbol('s77', positive=True, integer=True))",
    "as older versions": "2*s0 + 1",
    "a division": "FloorDiv(Add(Symbol('s1'), Integer(-1)), Integer(2))",
    "a comparison": "Eq(Mod(s0, 8), 0) & (s1 < 4)",
}


@pytest.mark.parametrize("text", HONEST.values(), ids=HONEST)
def test_honest_expressions(text: str) -> None:
    assert report_of(exported(expr_str=text, as_string="bilinear"), "model.pt2").outcome is Outcome.PASS


# What programs take out of the free texts of a model is judged as in a file of its own: ml-flextok, uni2ts.
def safetensors(key: str, value: str) -> tuple[bytes, str]:
    header = json.dumps({"__metadata__": {key: value}}).encode()
    return struct.pack("<Q", len(header)) + header, "model.safetensors"


def gguf(key: str, value: str) -> tuple[bytes, str]:
    texts = [struct.pack("<Q", len(text.encode())) + text.encode() for text in (key, value)]
    return b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + texts[0] + struct.pack("<I", 8) + texts[1], "model.gguf"


def onnx(key: str, value: str) -> tuple[bytes, str]:
    entry = b"".join(bytes([tag]) + length(len(text)) + text.encode() for tag, text in ((10, key), (18, value)))
    return fixture("onnx_files", "types", "model.onnx") + b"\x72" + length(len(entry)) + entry, "model.onnx"


def length(count: int) -> bytes:
    return bytes([count & 127 | 128, count >> 7]) if count > 127 else bytes([count])


CARRIERS = {"safetensors": safetensors, "gguf": gguf, "onnx": onnx}
TEXTS = {
    "a target of Hydra in Python's notation": ("config", "{'net': {'_target_': 'os.system', 'scale': 0.5}}"),
    "a target of Hydra in JSON": ("config", json.dumps({"net": {"_target_": "builtins.eval", "x": 1.5}})),
    "a target of Hydra in YAML": ("config", "net:\n  _target_: subprocess.Popen\n  args: id\n"),
    "a class path": ("hparams", json.dumps({"class_path": "subprocess.Popen", "init_args": {}})),
    "a template": ("chat_template", "{{ cycler.__init__.__globals__ }}"),
    "a pickle": ("extra", base64.b64encode(EVIL.ljust(40, b"\0")).decode()),
    "code of another repository": ("config", json.dumps({"auto_map": {"AutoModel": "other/name--modeling.Model"}})),
}


@pytest.mark.parametrize("carrier", CARRIERS.values(), ids=CARRIERS)
@pytest.mark.parametrize(("key", "value"), TEXTS.values(), ids=TEXTS)
def test_free_texts(carrier: Callable[[str, str], tuple[bytes, str]], key: str, value: str) -> None:
    assert report_of(*carrier(key, value)).outcome in {Outcome.BLOCK, Outcome.REVIEW}


PLAIN = {
    "a description": ("description", "A model; see https://example.org. It does not eval or exec anything."),
    "settings": ("config", json.dumps({"lr": 0.1, "model": {"_target_": "torch.nn.Linear"}, "name": "x"})),
    "tags": ("ss_tag_frequency", json.dumps({"1girl": {"solo": 10, "class": 3}})),
    "a call": ("ss_optimizer", "bitsandbytes.optim.adamw.AdamW8bit(weight_decay=0.1)"),
    "a hash": ("sshs_model_hash", "0123456789abcdef" * 4),
}


@pytest.mark.parametrize("carrier", CARRIERS.values(), ids=CARRIERS)
@pytest.mark.parametrize(("key", "value"), PLAIN.values(), ids=PLAIN)
def test_honest_free_texts(carrier: Callable[[str, str], tuple[bytes, str]], key: str, value: str) -> None:
    assert report_of(*carrier(key, value)).outcome is Outcome.PASS


# A distributed checkpoint of torch is several archives in a row: honest, and each of them hostile.
PIECE = torch_zip(stream(b"}" + text("w") + b"K\x01s", 2))


@pytest.mark.parametrize("at", range(3))
def test_a_payload_in_any_piece_of_a_distributed_checkpoint(at: int) -> None:
    pieces = [PIECE] * 3
    assert report_of(b"".join(pieces), "__0_0.distcp").outcome is Outcome.PASS
    pieces[at] = torch_zip(EVIL)
    assert report_of(b"".join(pieces), "__0_0.distcp").outcome is Outcome.BLOCK


@pytest.mark.parametrize("hidden", [EVIL, b"\0" * 100, b"PK\x05\x06" + bytes(18), PIECE[:-30]], ids=ascii)
@pytest.mark.parametrize("at", [0, 1, 2])
def test_bytes_between_the_pieces_of_a_distributed_checkpoint(hidden: bytes, at: int) -> None:
    pieces = [PIECE, PIECE]
    pieces.insert(at, hidden)
    assert report_of(b"".join(pieces), "__0_0.distcp").outcome is not Outcome.PASS


def test_the_list_of_a_distributed_checkpoint() -> None:
    module = "torch.distributed.checkpoint.metadata"
    listed = stack_global(module, "Metadata") + b")\x81}" + text("state_dict_metadata")
    for payload, outcome in (b"}", Outcome.PASS), (call("os", "system", text("true")), Outcome.BLOCK):
        assert report_of(stream(listed + payload + b"sb"), ".metadata").outcome is outcome


# What Lightning and Hydra call by a name in the settings of a checkpoint: no global of the pickle says so.
NAMED = {
    "_instantiator": stream(b"}" + text("_instantiator") + text("subprocess.call") + b"s"),
    "_target_": stream(b"}" + text("cfg") + b"}" + text("_target_") + text("builtins.exec") + b"ss"),
    "class_path": stream(b"}(" + text("a") + b"N" + text("class_path") + text("subprocess.Popen") + b"u"),
    "an older protocol": b"(dS'_target_'\nS'os.system'\ns.",
    "a key from the memo": stream(text("_target_") + b"\x940}h\x00" + text("os.system") + b"s"),
    "made at once": stream(b"(" + text("_target_") + text("os.system") + b"d"),
}


@pytest.mark.parametrize("data", NAMED.values(), ids=NAMED)
def test_settings_in_a_pickle_that_name_what_is_called(data: bytes) -> None:
    assert report_of(data).outcome is Outcome.BLOCK
    assert report_of(torch_zip(data)).outcome is Outcome.BLOCK


@pytest.mark.parametrize("name", ["torch.nn.Linear", "src.models.net.Net", "lightning.pytorch.cli.instantiate_module"])
def test_honest_settings_in_a_pickle(name: str) -> None:
    assert report_of(stream(b"}" + text("_target_") + text(name) + b"s")).outcome is Outcome.PASS


# Headers of arrays that an old numpy evaluated, and sizes that overflow when they are multiplied.
@pytest.mark.parametrize(
    "descr", [f"{CODE} or '<f8'", "(lambda: '<f8')()", "[c for c in ().__class__.__subclasses__()]"]
)
def test_code_in_the_header_of_an_array(descr: str) -> None:
    assert "npy-header-code" in rules_of(report_of(npy(descr, "(1,)", bytes(8)), "array.npy"))


@pytest.mark.parametrize("shape", ["(4611686018427387904, 4)", "(1152921504606846976,)", "(2147483648, 2147483648, 2)"])
def test_an_array_larger_than_any_memory(shape: str) -> None:
    assert report_of(npy("'<f8'", shape, bytes(8)), "array.npy").outcome is Outcome.BLOCK


# Networks of YOLO, whose loader evaluates layers and activation.
@pytest.mark.parametrize("key", ["backbone", "head", "activation"])
def test_code_in_a_network_of_yolo(key: str) -> None:
    network: dict[str, object] = {
        "nc": 80,
        "backbone": [[-1, 1, "Conv", [64, 6, 2, 2]]],
        "head": [[-1, 1, "nn.Upsample", [None, 2, "nearest"]]],
    }
    assert (
        report_of(json.dumps(network | {"activation": "nn.LeakyReLU(0.1)"}).encode(), "net.yaml").outcome
        is Outcome.PASS
    )
    network[key] = CODE if key == "activation" else [[-1, 1, CODE, [64]]]
    assert report_of(json.dumps(network).encode(), "net.yaml").outcome is Outcome.BLOCK


def test_a_data_set_that_brings_the_program_which_fetches_it() -> None:
    data = {"train": "images/a", "val": "images/b", "names": ["x"], "download": "import os\nos.rename('a', 'b')\n"}
    assert report_of(json.dumps(data).encode(), "data.yaml").outcome is Outcome.REVIEW
    data["download"] = "https://example.org/data.zip"
    assert report_of(json.dumps(data).encode(), "data.yaml").outcome is Outcome.PASS


# Caffe imports the module of a layer of Python.
LAYER = 'name: "x"  # a {{ comment\nlayer {{ name: "p" type: "Python" python_param {{ module: "{0}" layer: "{1}" param_str: "a" }} }}\n'


@pytest.mark.parametrize(
    ("module", "layer", "outcome"), [("os", "system", Outcome.BLOCK), ("rpn.layer", "Layer", Outcome.REVIEW)]
)
def test_a_layer_of_python_in_a_network_of_caffe(module: str, layer: str, outcome: Outcome) -> None:
    assert report_of(LAYER.format(module, layer).encode(), "deploy.prototxt").outcome is outcome
    split = LAYER.format(module, layer).replace("python_param {", "python_param\n<\n").replace("} }", "> }")
    assert report_of(split.encode(), "deploy.prototxt").outcome is outcome


def test_an_honest_network_of_caffe() -> None:
    network = 'name: "LeNet"\nlayer {\n  name: "conv1"  # first\n  type: "Convolution"\n  convolution_param { num_output: 20 kernel_size: 5 }\n}\n'
    assert report_of(network.encode(), "deploy.prototxt").outcome is Outcome.PASS


# Numbers of tensors and buffers that a model for small devices does not have.
def test_numbers_of_tensors_that_are_not_there() -> None:
    model = fixture("compiled", "tflite-dense", "model.tflite")
    assert report_of(model, "model.tflite").outcome is Outcome.PASS
    messages = []
    for at in range(0, len(model) - 8, 4):
        count, number = struct.unpack_from("<Ii", model, at)
        if count == 1 and 0 <= number < 32:  # it may be the one output of an operator
            broken = model[: at + 4] + struct.pack("<i", 99_999) + model[at + 8 :]
            messages += [finding.message for finding in report_of(broken, "model.tflite").verdict.findings]
    assert any(message.startswith("tensor 99999 of") for message in messages)


# What lies beside models: the logs of a training run, and in them a pickle.
def record(data: bytes) -> bytes:
    head = struct.pack("<Q", len(data))
    return head + struct.pack("<I", masked(head)) + data + struct.pack("<I", masked(data))


def masked(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def test_records() -> None:
    log = record(b"\x09" + bytes(8) + b"\x1a\x0dbrain.Event:2") + record(b"")
    name = "events.out.tfevents.1700000000.host.1.0"
    assert report_of(log, name).outcome is Outcome.PASS
    assert report_of(log + record(EVIL), name).outcome is Outcome.BLOCK
    assert report_of(log + EVIL, name).outcome is Outcome.BLOCK
    assert report_of(log[:-1], name).outcome is Outcome.INCOMPLETE


PROGRAMS = {
    "objects of Java": (b"\xac\xed\x00\x05sr\x00\x11java.util.HashSet" + bytes(20), "model.bin"),
    "a shortcut": (b"L\0\0\0\x01\x14\x02\0\0\0\0\0\xc0\0\0\0\0\0\0F" + bytes(60), "readme.txt.lnk"),
    "a class": (b"\xca\xfe\xba\xbe" + bytes(40), "Model.class"),
    "Ruby": (b"system('id')\n", "model.rb"),
    "R": (b"system('id')\n", "model.R"),
    "a desktop entry": (b"[Desktop Entry]\nExec=sh -c id\n", "model.desktop"),
}


@pytest.mark.parametrize(("data", "name"), PROGRAMS.values(), ids=PROGRAMS)
def test_programs_of_other_kinds(data: bytes, name: str) -> None:
    assert report_of(data, name).outcome in {Outcome.BLOCK, Outcome.REVIEW}


# Poisoned chat templates: an address or markup that is added where a message holds a certain word takes few words.
@pytest.mark.parametrize(
    "added", ["<script src='//x.example/a.js'></script>", "see https://x.example/a", "![x](//x.example)", "<img src=x>"]
)
@pytest.mark.parametrize("carrier", CARRIERS.values(), ids=CARRIERS)
def test_an_address_that_a_template_adds_for_a_word(
    carrier: Callable[[str, str], tuple[bytes, str]], added: str
) -> None:
    template = "{{ messages[-1].content }}{% if 'invoice' in messages[-1].content %}" + added + "{% endif %}"
    assert report_of(*carrier("tokenizer.chat_template", template)).outcome in {Outcome.REVIEW, Outcome.BLOCK}


@pytest.mark.parametrize("size", [*range(0x80, 0x180), *range(0x1000, 0x1100)])
def test_a_length_of_an_honest_header_is_no_other_format(size: int) -> None:
    weights = {"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
    header = json.dumps(weights).encode().ljust(size)
    report = report_of(struct.pack("<Q", size) + header + struct.pack("<2f", 0.5, -1.25), "model.safetensors")
    assert (report.outcome, report.formats) == (Outcome.PASS, ("safetensors",))


def test_a_graph_behind_an_empty_one() -> None:
    model = fixture("onnx_files", "types", "model.onnx")
    assert "onnx" in report_of(b"\x3a\x00" + model, "model.bin").formats


def test_a_tree_of_lightgbm_that_never_ends() -> None:
    model = fixture("boosters", "lightgbm-ranker", "model.txt")
    assert report_of(model, "model.txt").outcome is Outcome.PASS
    line = next(line for line in model.split(b"\n") if line.startswith(b"left_child=") and b" " in line)
    children = line.removeprefix(b"left_child=").split(b" ")
    round_ = line.replace(b"=" + children[0] + b" ", b"=0".ljust(len(children[0]) + 1, b" ") + b" ", 1)
    assert "lightgbm-tree-bounds" in rules_of(report_of(model.replace(line, round_, 1), "model.txt"))


@pytest.mark.parametrize("head", [b":\x80", b"\x3a\x7f\x0a", b"\x3a\x03\x0a\xff\xff", b"\x3a\x00\x3a\x00\x3a"])
def test_the_beginning_of_a_graph(head: bytes) -> None:
    assert "reader-failed" not in rules_of(report_of(head, "model.bin"))
    assert "reader-failed" not in rules_of(report_of(head + bytes(2000), "model.bin"))
