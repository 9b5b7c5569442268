"""Torch's own files: archives, files from before them, TorchScript, and packages of code."""

from __future__ import annotations

import io
import linecache
import zipfile
from collections.abc import Iterator
from typing import Any

from tools.artifacts import Sample, file_of, stream_of

LIBRARIES = ("torch",)
FOLDER = "torch"
SCRIPT = """
class Gate(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(2, 3))
        self.register_buffer("seen", torch.zeros(1))
        self.names = ["a", "b"]
        self.table = {"x": 1}

    def forward(self, x):
        y = torch.matmul(x, self.weight.t())
        if bool(y.sum() > 0):
            y = y * 2
        self.seen.add_(1.0)
        return y + torch.ones(2)
"""


def script_module() -> Any:
    """A module whose source is known by a name that is no path of this machine."""
    import torch

    linecache.cache["gate.py"] = (len(SCRIPT), None, SCRIPT.splitlines(keepends=True), "gate.py")
    names: dict[str, Any] = {"torch": torch, "__name__": "gate"}
    exec(compile(SCRIPT, "gate.py", "exec"), names)  # noqa: S102 - the text above
    torch.manual_seed(0)
    return names["Gate"]()


def values() -> Iterator[tuple[str, Any]]:
    """Things that people save."""
    import torch

    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.ReLU(), torch.nn.BatchNorm1d(4))
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.randn(4, 8)).sum().backward()
    optimizer.step()
    yield "state-dict", net.state_dict()
    yield "module", net
    yield "checkpoint", {"epoch": 3, "net": net.state_dict(), "optimizer": optimizer.state_dict(), "args": {"lr": 0.1}}
    yield "one-tensor", torch.arange(12).reshape(3, 4)
    kinds = ("float16", "bfloat16", "float64", "int8", "int16", "int64", "uint8", "bool", "complex64")
    yield "element-types", {kind: torch.zeros(3, dtype=getattr(torch, kind)) for kind in kinds}
    base = torch.arange(20.0)
    yield "views", {"whole": base, "part": base[4:9], "turned": base.reshape(4, 5).t()}
    yield "sparse", torch.sparse_coo_tensor([[0, 1], [1, 0]], [1.0, 2.0], (2, 2))
    for form, options in {"csr": (), "csc": (), "bsr": ((2, 2),), "bsc": ((2, 2),)}.items():
        yield f"sparse-{form}", getattr(torch.eye(4), f"to_sparse_{form}")(*options)
    yield "sparse-hybrid", torch.sparse_coo_tensor([[0, 1, 2], [1, 0, 3]], torch.ones(3, 2), (3, 4, 2))
    yield "sparse-batches", torch.eye(4).expand(2, 4, 4).contiguous().to_sparse_csr()
    yield "empty", {"none": torch.zeros(0), "scalar": torch.tensor(1.5), "parameter": torch.nn.Parameter(torch.ones(2))}
    yield "nothing-of-torch", {"a": 1, "b": [1.0, "x"]}


def saved() -> Iterator[Sample]:
    """Each value by both ways of saving."""
    import torch

    for name, value in values():
        yield f"zip-{name}", {"model.pt": stream_of(torch.save, value)}
        yield f"legacy-{name}", {"model.pth": stream_of(torch.save, value, _use_new_zipfile_serialization=False)}
    state = torch.nn.Linear(3, 2).state_dict()
    for protocol in (3, 4, 5):
        yield f"zip-protocol-{protocol}", {"model.pt": stream_of(torch.save, state, pickle_protocol=protocol)}
        old = stream_of(torch.save, state, pickle_protocol=protocol, _use_new_zipfile_serialization=False)
        yield f"legacy-protocol-{protocol}", {"model.pth": old}
    torch.serialization.set_crc32_options(False)
    yield "zip-no-checksums", {"model.pt": stream_of(torch.save, state)}
    torch.serialization.set_crc32_options(True)
    yield "zip-renamed", {"pytorch_model.bin": file_of(lambda path: torch.save(state, path), "my model.v2.bin")}
    twice = stream_of(torch.save, state, _use_new_zipfile_serialization=False)
    yield "legacy-two-objects", {"model.pth": twice + twice}
    yield "zip-repacked", {"model.pt": repacked(stream_of(torch.save, state))}


def repacked(data: bytes) -> bytes:
    """The same members, deflated by another program; torch reads that too."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as before, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as after:
        for info in before.infolist():
            after.writestr(zipfile.ZipInfo(info.filename), before.read(info), zipfile.ZIP_DEFLATED)
    return out.getvalue()


def scripts() -> Iterator[Sample]:
    """TorchScript: scripted, traced, frozen, with files beside, and for mobile."""
    import torch

    module = script_module().eval()
    scripted = torch.jit.script(module)
    yield "script", {"model.pt": stream_of(torch.jit.save, scripted)}
    yield "script-extra", {"model.pt": stream_of(torch.jit.save, scripted, _extra_files={"notes.txt": b"made by hand"})}
    yield "script-traced", {"model.pt": stream_of(torch.jit.save, torch.jit.trace(module, torch.ones(1, 3)))}
    yield "script-frozen", {"model.pt": stream_of(torch.jit.save, torch.jit.freeze(scripted))}
    mobile = file_of(scripted._save_for_lite_interpreter, "model.ptl")  # noqa: SLF001 - its only name
    yield "script-mobile", {"model.ptl": mobile}


def exported() -> Iterator[Sample]:
    """A graph by torch.export, with its weights beside."""
    import torch

    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
    program = torch.export.export(net, (torch.ones(2, 4),))
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    yield "exported", {"model.pt2": stream_of(torch.export.save, program)}


def packages() -> Iterator[Sample]:
    """A package: its importer runs the module in it."""
    import torch
    from torch.package import PackageExporter

    out = io.BytesIO()
    with PackageExporter(out) as exporter:
        exporter.save_source_string("layers", "import torch\n\nWIDTH = 3\n")
        exporter.save_pickle("model", "model.pkl", torch.nn.Linear(3, 2).state_dict())
        exporter.save_text("config", "notes.txt", "three wide")
        exporter.extern("**")
    yield "package", {"model.pt": out.getvalue()}


def samples() -> Iterator[Sample]:
    """All of them."""
    yield from saved()
    yield from scripts()
    yield from exported()
    yield from packages()
