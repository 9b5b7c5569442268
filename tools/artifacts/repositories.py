"""Repositories with what lies beside weights: tokenizers of SentencePiece, chat templates, pictures, sounds, settings, cards.

The plain repositories are those of `transformers_repos`. Adapters and settings of other libraries are handmade to what the
libraries write, and their names say so.
"""

from __future__ import annotations

import io
import json
import math
import struct
import warnings
import wave
from collections.abc import Iterator
from typing import Any

from tools.artifacts import Sample, folder_of, stream_of, transformers_repos

LIBRARIES = (*transformers_repos.LIBRARIES, "sentencepiece", "PIL")
KEPT = frozenset(
    {"bert-safetensors", "albert-sharded", "gpt2-bin", "qwen2-sharded", "sentence-transformers", "sentence-transformers-dense",
     "diffusers-DDPM", "diffusers-DDIM", "image-processor", "generation-config", "trainer-arguments", "vit-safetensors"}
)  # fmt: skip
TOOLS = (
    "{%- if tools %}{{- '<tools>' }}{%- for tool in tools %}{{- tool | tojson }}{%- endfor %}{{- '</tools>' }}{%- endif %}"
    "{%- for message in messages %}{%- if message.role == 'tool' %}{{- '<result>' + message.content + '</result>' }}"
    "{%- else %}{{- '<|' + message.role + '|>' + message.content + eos_token }}{%- endif %}{%- endfor %}"
)
CARD = """---
license: apache-2.0
language: [en, de]
tags: [text-generation]
widget:
- text: "Hello"
---
# A small model

![a picture](assets/picture.png)

```python
from transformers import AutoModelForCausalLM
import os, subprocess

model = AutoModelForCausalLM.from_pretrained("name/of-model", token=os.environ["HF_TOKEN"])
subprocess.run(["ls"])
```

See <https://example.com/paper> and [the licence](LICENSE).
"""


def _pieces() -> Iterator[Sample]:
    import sentencepiece

    text = "\n".join(["the quick brown fox jumps over the lazy dog", "hello world how are you"] * 40)
    for kind, size in (("unigram", 32), ("bpe", 60), ("char", 30), ("word", 15)):
        out = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(text.split("\n")), model_writer=out, vocab_size=size, model_type=kind,
            normalization_rule_name="identity", minloglevel=2, hard_vocab_limit=False,
        )  # fmt: skip
        config = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
        files = {"tokenizer.model": out.getvalue(), "tokenizer_config.json": json.dumps(config).encode()}
        yield f"sentencepiece-{kind}", files


def _templates() -> Iterator[Sample]:
    for name, template in (("tools", TOOLS), ("named", {"default": transformers_repos.TEMPLATE, "tool_use": TOOLS})):
        tokenizer = transformers_repos._tokenizer("bpe")  # noqa: SLF001 - the same family of files
        tokenizer.chat_template = template
        yield f"chat-template-{name}", folder_of(tokenizer.save_pretrained)
        old: dict[str, Any] = {"chat_template": template, "tokenizer_class": "PreTrainedTokenizerFast"}
        if isinstance(template, dict):
            old["chat_template"] = [{"name": key, "template": text} for key, text in template.items()]
        yield f"chat-template-{name}-in-config-handmade", {"tokenizer_config.json": json.dumps(old, indent=2).encode()}


def _beside() -> Iterator[Sample]:
    from PIL import Image

    files = {"README.md": CARD.encode(), "LICENSE": b"MIT License\n\nPermission is hereby granted, free of charge.\n",
             "config.json": b'{"model_type": "bert", "hidden_size": 8}'}  # fmt: skip
    picture = Image.new("RGB", (32, 16), (200, 30, 60))
    for kind in ("PNG", "JPEG", "GIF", "WEBP"):
        files[f"assets/picture.{kind.lower().replace('jpeg', 'jpg')}"] = stream_of(picture.save, after=(kind,))
    files["assets/tone.wav"] = _tone()
    files["assets/logo.svg"] = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><path d="M0 0h8v8z"/></svg>'
    yield "card-with-pictures", files


def _tone() -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(b"".join(struct.pack("<h", int(9000 * math.sin(n / 9))) for n in range(800)))
    return out.getvalue()


HANDMADE: dict[str, dict[str, str]] = {
    "peft-adapter": {"adapter_config.json": json.dumps({
        "alpha_pattern": {}, "auto_mapping": None, "base_model_name_or_path": "meta-llama/Llama-3.2-1B", "bias": "none", "peft_type": "LORA",
        "lora_alpha": 16, "lora_dropout": 0.05, "megatron_config": None, "megatron_core": "megatron.core", "r": 8, "revision": None,
        "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM",
    }, indent=2), "README.md": "---\nbase_model: meta-llama/Llama-3.2-1B\nlibrary_name: peft\n---\n# An adapter\n"},
    "hydra-settings": {"config.yaml": "defaults:\n- _self_\nmodel:\n  _target_: torch.nn.Linear\n  in_features: 4\n  out_features: 2\n"
                       "optimizer:\n  _target_: torch.optim.AdamW\n  lr: 1.0e-3\n"},
    "lightning-hparams": {"hparams.yaml": "lr: 0.001\nnetwork: !!python/object:argparse.Namespace\n  depth: 2\n  width: 8\n"},
    "speechbrain-hparams": {"hyperparams.yaml": "sample_rate: 16000\nn_mels: 80\ncompute_features: !new:speechbrain.lobes.features.Fbank\n"
                            "  n_mels: !ref <n_mels>\nnorm: !new:speechbrain.processing.features.InputNormalization\n  norm_type: sentence\n"},
    "nemo-config": {"model_config.yaml": "target: nemo.collections.asr.models.EncDecCTCModel\nsample_rate: 16000\npreprocessor:\n"
                    "  _target_: nemo.collections.asr.modules.AudioToMelSpectrogramPreprocessor\n  features: 64\nencoder:\n"
                    "  _target_: nemo.collections.asr.modules.ConvASREncoder\n  activation: relu\n"},
    "latent-diffusion": {"v1-inference.yaml": "model:\n  base_learning_rate: 1.0e-04\n  target: ldm.models.diffusion.ddpm.LatentDiffusion\n  params:\n"
                         "    first_stage_config:\n      target: ldm.models.autoencoder.AutoencoderKL\n    cond_stage_config:\n"
                         "      target: ldm.modules.encoders.modules.FrozenCLIPEmbedder\n"},
    "text-corners": {"vocab.txt": "[PAD]\n[UNK]\ncat\ndog\neval\nsystem\n##ing\nPermission\n", "merges.txt": "#version: 0.2\nt h\nth e\n",
                     "labels.txt": "cat\ndog\nhorse\n", "data.jsonl": '{"a": 1}\n{"a": 2}\n', "table.csv": "c,d\n1,2\n", "notes.log": "epoch 1\n",
                     "empty.json": "{}", "list.json": "[1, 2]", "nan.json": '{"loss": NaN}', "bom.json": '\ufeff{"a": 1}', "config.json": "{}"},
    "notebook": {"demo.ipynb": json.dumps({"cells": [{"cell_type": "code", "source": ["import os\n", "os.listdir()"], "outputs": [],
                 "execution_count": 1, "metadata": {}}], "metadata": {}, "nbformat": 4, "nbformat_minor": 5})},
}  # fmt: skip


def samples() -> Iterator[Sample]:
    """The models of this family."""
    warnings.simplefilter("ignore")
    for make in (_pieces, _templates, _beside):
        yield from make()
    for name, texts in HANDMADE.items():
        yield f"{name}-handmade", {path: text.encode() for path, text in texts.items()}
    yield from (one for one in transformers_repos.samples() if one[0] in KEPT)
