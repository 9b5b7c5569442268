"""torch: state dicts, whole modules, optimizers, checkpoints, TorchScript, exported programs and tensors of all kinds."""

from __future__ import annotations

import collections
import functools
import io
import pickle
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tools.artifacts import Sample, file_of, stream_of

LIBRARIES = ("torch", "numpy", "torchvision")


def _save(value: object, **named: Any) -> bytes:
    import torch

    return stream_of(torch.save, value, **named)


def _modules() -> dict[str, Any]:
    """Modules of torch.nn, each with other layers."""
    from torch import nn

    return {
        "linear": nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Dropout(0.1), nn.Linear(3, 2)),
        "convolution": nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 2)),
        "convolution1d": nn.Sequential(nn.Conv1d(2, 3, 3), nn.GELU(), nn.AdaptiveAvgPool1d(1)),
        "convolution3d": nn.Sequential(nn.Conv3d(1, 2, 2), nn.InstanceNorm3d(2, affine=True), nn.AvgPool3d(1)),
        "transposed": nn.Sequential(nn.ConvTranspose2d(2, 1, 2), nn.Sigmoid(), nn.Upsample(scale_factor=2)),
        "recurrent": nn.ModuleDict({"lstm": nn.LSTM(3, 4, 2, batch_first=True, bidirectional=True), "head": nn.Linear(8, 1)}),
        "gru": nn.GRU(3, 4, dropout=0.0), "rnn": nn.RNN(3, 4, nonlinearity="relu"), "cells": nn.ModuleList([nn.LSTMCell(2, 2), nn.GRUCell(2, 2)]),
        "attention": nn.MultiheadAttention(4, 2), "encoder": nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), 2),
        "decoder": nn.TransformerDecoderLayer(4, 2, 8, activation="gelu"), "transformer": nn.Transformer(4, 2, 1, 1, 8),
        "embedding": nn.ModuleDict({"words": nn.Embedding(10, 4, padding_idx=0), "bag": nn.EmbeddingBag(10, 4)}),
        "norms": nn.Sequential(nn.LayerNorm(4), nn.GroupNorm(2, 4), nn.RMSNorm(4), nn.Softmax(-1)),
        "activations": nn.Sequential(nn.SiLU(), nn.ELU(), nn.PReLU(), nn.Hardtanh(), nn.LogSoftmax(1), nn.Tanh(), nn.LeakyReLU(), nn.Mish()),
        "losses": nn.ModuleList([nn.CrossEntropyLoss(), nn.MSELoss(), nn.BCEWithLogitsLoss(), nn.HuberLoss(), nn.KLDivLoss(reduction="sum")]),
        "padding": nn.Sequential(nn.ZeroPad2d(1), nn.ReflectionPad2d(1), nn.PixelShuffle(1), nn.Identity()),
        "bilinear": nn.Bilinear(2, 3, 1), "parameters": nn.ParameterList([nn.Parameter(nn.Linear(2, 2).weight.detach())]),
        "similarity": nn.Sequential(nn.CosineSimilarity(), nn.Unfold(2)),
    }  # fmt: skip


def _tensors() -> dict[str, Any]:
    import torch

    kinds = (
        "float64",
        "float16",
        "bfloat16",
        "int8",
        "uint8",
        "int16",
        "int64",
        "bool",
        "complex64",
        "float8_e4m3fn",
        "uint16",
    )
    found: dict[str, Any] = {f"dtype-{kind}": torch.ones(3).to(getattr(torch, kind)) for kind in kinds}
    found |= {
        "views": {"a": (t := torch.arange(12.0)), "b": t[3:], "c": t.view(3, 4).t()}, "scalar": torch.tensor(1.5), "empty": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(torch.ones(2)), "buffer": torch.nn.Buffer(torch.ones(2)), "gradient": torch.ones(2, requires_grad=True),
        "coordinates": torch.eye(3).to_sparse(), "rows": torch.eye(3).to_sparse_csr(), "columns": torch.eye(3).to_sparse_csc(),
        "blocks": torch.eye(4).to_sparse_bsr((2, 2)), "quantized": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
        "quantized-channels": torch.quantize_per_channel(torch.ones(2, 2), torch.tensor([0.1, 0.2]), torch.tensor([0, 0]), 0, torch.quint8),
        "generator-state": torch.get_rng_state(), "meta": torch.empty(3, device="meta"), "storage": torch.ones(3).untyped_storage(),
        "typed-storage": torch.ones(3).storage(), "size": torch.Size([1, 2]), "device": torch.device("cpu"), "dtype-itself": torch.float32,
        "conjugate": torch.ones(2, dtype=torch.complex64).conj(), "nested-lists": [{"t": torch.ones(1)}, (torch.zeros(1), None)],
        "memory-format": torch.preserve_format, "layout": torch.strided,
    }  # fmt: skip
    return found


def _trained(module: Any, make: Callable[[Any], Any]) -> Any:
    import torch

    optimizer = make(module.parameters())
    for _ in range(2):
        optimizer.zero_grad()
        module(torch.ones(3, 4)).sum().backward()
        optimizer.step(*([lambda: module(torch.ones(3, 4)).sum()] if type(optimizer).__name__ == "LBFGS" else []))
    return optimizer


def _checkpoints() -> Iterator[Sample]:
    import argparse
    import datetime
    import pathlib

    import numpy as np
    import torch

    module = _modules()["linear"]
    for name in ("Adam", "AdamW", "SGD", "RMSprop", "Adagrad", "LBFGS", "NAdam"):
        optimizer = _trained(module, functools.partial(getattr(torch.optim, name), lr=0.01))
        yield (
            f"checkpoint-{name}",
            {"epoch.ckpt": _save({"model": module.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 1})},
        )
    yield "whole-optimizer", {"optimizer.pt": _save(torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9))}
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(torch.optim.SGD(module.parameters(), lr=0.1), 5)
    yield "scheduler", {"scheduler.pt": _save(scheduler.state_dict())}
    metadata = {
        "args": argparse.Namespace(lr=0.1, name="run"), "date": datetime.datetime(2024, 1, 1), "path": pathlib.PurePosixPath("runs/1"),
        "classes": ["cat", "dog"], "best": np.float64(0.9), "counts": collections.Counter("aab"), "rng": np.random.get_state(),
        "mean": np.ones(3, "f4"), "history": collections.defaultdict(list, loss=[0.5]), "version": torch.__version__, "device": torch.device("cpu"),
    }  # fmt: skip
    yield "checkpoint-metadata", {"model.pt": _save({"state_dict": module.state_dict(), **metadata})}
    yield (
        "checkpoint-amp",
        {"model.pt": _save({"model": module.state_dict(), "scaler": torch.amp.GradScaler("cpu").state_dict()})},
    )
    lightning = {
        "epoch": 1, "global_step": 10, "pytorch-lightning_version": "2.4.0", "state_dict": module.state_dict(), "loops": {"fit_loop": {"state_dict": {}}},
        "callbacks": {"ModelCheckpoint{'monitor': 'loss'}": {"best_model_score": torch.tensor(0.5), "best_model_path": "last.ckpt"}},
        "optimizer_states": [], "lr_schedulers": [], "hparams_name": "kwargs", "hyper_parameters": {"lr": 0.1},
    }  # fmt: skip
    yield "checkpoint-lightning", {"last.ckpt": _save(lightning)}
    ema = torch.optim.swa_utils.AveragedModel(module)
    yield "averaged", {"model.pth": _save(ema.state_dict())}
    for protocol in (3, 4, 5):
        yield f"protocol-{protocol}", {"model.pt": _save(module.state_dict(), pickle_protocol=protocol)}
    yield (
        "legacy-protocol-4",
        {"model.pth": _save(module.state_dict(), _use_new_zipfile_serialization=False, pickle_protocol=4)},
    )
    yield "legacy-module", {"model.pth": _save(module, _use_new_zipfile_serialization=False)}
    yield "legacy-views", {"model.pth": _save(_tensors()["views"], _use_new_zipfile_serialization=False)}
    plain = {"state": module.state_dict(), "module": module, "tensor": torch.ones(2)}
    for turn, (name, value) in enumerate(plain.items()):
        yield f"plain-pickle-{name}", {"model.pkl": pickle.dumps(value, (2, 4, 5)[turn])}


def _scripts() -> Iterator[Sample]:
    import torch

    modules, ones = _modules(), torch.ones
    for name in ("linear", "convolution", "recurrent", "encoder", "norms"):
        module = modules[name]["lstm"] if name == "recurrent" else modules[name]
        yield f"script-{name}", {"model.pt": stream_of(torch.jit.save, torch.jit.script(module.eval()))}
    yield "trace", {"model.pt": stream_of(torch.jit.save, torch.jit.trace(modules["linear"].eval(), ones(1, 4)))}
    frozen = torch.jit.freeze(torch.jit.script(modules["convolution"].eval()))
    yield "script-frozen", {"model.pt": stream_of(torch.jit.save, frozen)}
    extra = {"labels.txt": "cat\ndog"}
    yield (
        "script-extra",
        {"model.pt": stream_of(torch.jit.save, torch.jit.script(modules["linear"]), _extra_files=extra)},
    )
    lite = torch.jit.script(modules["linear"].eval())
    yield "mobile", {"model.ptl": file_of(lite._save_for_lite_interpreter, "model.ptl")}  # noqa: SLF001 - the only way
    program = torch.export.export(modules["linear"].eval(), (ones(2, 4),))
    yield "exported", {"model.pt2": stream_of(torch.export.save, program)}
    dynamic = torch.export.export(
        modules["convolution"].eval(), (ones(2, 1, 4, 4),), dynamic_shapes=({0: torch.export.Dim("batch")},)
    )
    yield "exported-dynamic", {"model.pt2": stream_of(torch.export.save, dynamic)}
    quantized = torch.ao.quantization.quantize_dynamic(modules["linear"], {torch.nn.Linear}, dtype=torch.qint8)
    yield "quantized-state", {"model.pt": _save(quantized.state_dict())}
    yield "quantized-script", {"model.pt": stream_of(torch.jit.save, torch.jit.script(quantized.eval()))}


def _vision() -> Iterator[Sample]:
    try:
        import torchvision
    except (ImportError, RuntimeError) as error:  # the latter where it was built for another torch
        print(f"torch_models: torchvision left out, {error}")
        return
    for name in ("squeezenet1_1", "shufflenet_v2_x0_5", "mobilenet_v3_small"):
        model = torchvision.models.get_model(name, weights=None, num_classes=2)
        yield f"vision-{name}", {"model.pth": _save(model.state_dict())}
    yield (
        "vision-whole",
        {"model.pth": _save(torchvision.models.get_model("mobilenet_v3_small", weights=None, num_classes=2))},
    )
    resnet = torchvision.models.resnet.ResNet(
        torchvision.models.resnet.BasicBlock, [1, 1, 1, 1], num_classes=2, width_per_group=64
    )
    yield "vision-resnet", {"model.pth": _save(resnet)}


def samples() -> Iterator[Sample]:
    """The models of this family."""
    import torch

    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    for turn, (name, module) in enumerate(_modules().items()):
        yield f"module-{name}", {"model.pt": _save(module)}
        legacy = bool(turn % 2)
        yield (
            f"state-{name}",
            {
                "model.pth" if legacy else "pytorch_model.bin": _save(
                    module.state_dict(), _use_new_zipfile_serialization=not legacy
                )
            },
        )
    for name, value in _tensors().items():
        try:
            yield f"tensor-{name}", {"tensor.pt": _save(value)}
        except (TypeError, pickle.PicklingError, RuntimeError) as error:  # not every kind can be saved by every version
            warnings.warn(f"{name}: {error}", stacklevel=1)
    for make in (_checkpoints, _scripts, _vision):
        yield from make()
    yield "empty-dict", {"model.pt": _save({})}
    out = io.BytesIO()
    torch.save([1, "a"], out)
    yield "no-tensor", {Path("model.pt").name: out.getvalue()}
