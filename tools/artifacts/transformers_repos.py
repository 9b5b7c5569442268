"""Repositories as transformers, tokenizers, sentence-transformers and diffusers save them: tiny models of many families."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterator
from typing import Any

from tools.artifacts import Sample, folder_of, stream_of

LIBRARIES = ("transformers", "tokenizers", "safetensors", "torch", "diffusers", "sentence_transformers")
SMALL: dict[str, Any] = {
    "vocab_size": 32, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "num_key_value_heads": 2,
    "n_embd": 8, "n_layer": 1, "n_head": 2, "dim": 8, "hidden_dim": 16, "n_layers": 1, "n_heads": 2, "d_model": 8, "d_ff": 16, "d_kv": 4,
    "num_layers": 1, "num_heads": 2, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2,
    "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "max_position_embeddings": 16, "embedding_size": 8, "image_size": 8, "patch_size": 4,
    "num_experts": 2, "num_local_experts": 2, "head_dim": 4, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
FAMILIES = (
    "bert", "roberta", "distilbert", "gpt2", "llama", "mistral", "t5", "bart", "electra", "albert", "vit", "deberta-v2", "gpt_neox", "opt", "qwen2",
    "phi", "gemma", "mixtral", "mpnet", "falcon", "bloom", "mbart", "beit", "deit",
)  # fmt: skip
TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' }}{% if message['content'] is string %}{{ message['content'] | trim }}"
    "{% endif %}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def _model(family: str) -> Any:
    import transformers

    config = transformers.AutoConfig.for_model(family)
    for key, value in SMALL.items():
        if hasattr(config, key):
            setattr(config, key, value)
    if hasattr(config, "layer_types"):
        config.layer_types = ["full_attention"]
    return transformers.AutoModel.from_config(config)


def _tokenizer(kind: str = "wordlevel", template: str = "") -> Any:
    import tokenizers
    import transformers

    texts = ["the quick brown fox", "jumps over the lazy dog"]
    special = ["<pad>", "<s>", "</s>", "<unk>"]
    models, trainers = tokenizers.models, tokenizers.trainers
    model, trainer = {
        "wordlevel": (
            models.WordLevel(unk_token="<unk>"),
            trainers.WordLevelTrainer(special_tokens=special, show_progress=False),
        ),
        "bpe": (
            models.BPE(unk_token="<unk>"),
            trainers.BpeTrainer(vocab_size=40, special_tokens=special, show_progress=False),
        ),
        "unigram": (
            models.Unigram(),
            trainers.UnigramTrainer(vocab_size=40, special_tokens=special, unk_token="<unk>", show_progress=False),
        ),
        "wordpiece": (
            models.WordPiece(unk_token="<unk>"),
            trainers.WordPieceTrainer(vocab_size=60, special_tokens=special, show_progress=False),
        ),
    }[kind]
    made = tokenizers.Tokenizer(model)
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.normalizer = tokenizers.normalizers.Lowercase()
    made.train_from_iterator(texts, trainer)
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token="<unk>", pad_token="<pad>", eos_token="</s>", bos_token="<s>"
    )
    if template:
        fast.chat_template = template
    return fast


def _repositories() -> Iterator[Sample]:
    import torch

    kinds = ("wordlevel", "bpe", "unigram", "wordpiece")
    for turn, family in enumerate(FAMILIES):
        try:
            model = _model(family)
        except Exception as error:
            warnings.warn(f"{family}: {error}", stacklevel=1)
            continue

        def save(folder: str, model: Any = model, turn: int = turn) -> None:
            model.save_pretrained(folder, max_shard_size="3KB" if turn % 5 == 4 else "5GB")
            if turn % 2:
                _tokenizer(kinds[turn // 2 % 4], TEMPLATE if turn % 4 == 1 else "").save_pretrained(folder)

        files = folder_of(save)
        yield f"{family}-{'sharded' if turn % 5 == 4 else 'safetensors'}", {"README.md": _card(family), **files}
        if turn % 3 == 0:
            numbers = (".safetensors", ".safetensors.index.json")
            kept = {name: data for name, data in files.items() if not name.endswith(numbers)}
            yield f"{family}-bin", {**kept, "pytorch_model.bin": stream_of(torch.save, model.state_dict())}


def _card(family: str) -> bytes:
    return f"---\nlicense: apache-2.0\ntags:\n- {family}\n---\n# A tiny {family}\n\nWith random weights, for tests.\n".encode()


def _heads() -> Iterator[Sample]:
    import transformers

    config = transformers.BertConfig(
        **{key: SMALL[key] for key in ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads")},
        intermediate_size=16,
    )
    config.id2label = {0: "good", 1: "bad"}
    for head in ("SequenceClassification", "TokenClassification", "QuestionAnswering", "MaskedLM"):
        model = getattr(transformers, f"BertFor{head}")(config)
        yield f"bert-{head}", folder_of(model.save_pretrained)
    generation = transformers.GenerationConfig(max_new_tokens=5, do_sample=True, temperature=0.7)
    yield "generation-config", folder_of(generation.save_pretrained)
    processor = transformers.ViTImageProcessor(size={"height": 8, "width": 8})
    yield "image-processor", folder_of(processor.save_pretrained)
    yield "trainer-arguments", folder_of(lambda folder: _trained(config, folder))


def _trained(config: Any, folder: str) -> None:
    """What a training run leaves beside the weights."""
    import torch
    import transformers

    model = transformers.BertForSequenceClassification(config)
    model.save_pretrained(folder)
    optimizer = torch.optim.AdamW(model.parameters())
    torch.save(optimizer.state_dict(), f"{folder}/optimizer.pt")
    torch.save(torch.optim.lr_scheduler.LinearLR(optimizer).state_dict(), f"{folder}/scheduler.pt")
    state = transformers.TrainerState(global_step=3, max_steps=3, log_history=[{"loss": 0.5, "step": 1}])
    state.save_to_json(f"{folder}/trainer_state.json")
    arguments = transformers.TrainingArguments(output_dir="run", use_cpu=True, report_to=[])
    torch.save(arguments, f"{folder}/training_args.bin")


def _sentences() -> Iterator[Sample]:
    from sentence_transformers import SentenceTransformer, models

    with tempfile.TemporaryDirectory() as folder:
        _model("bert").save_pretrained(folder)
        _tokenizer("wordpiece").save_pretrained(folder)
        words = models.Transformer(folder)
        yield "sentence-transformers", folder_of(SentenceTransformer(modules=[words, models.Pooling(8)]).save)
        dense = SentenceTransformer(modules=[words, models.Pooling(8), models.Dense(8, 4), models.Normalize()])
        yield "sentence-transformers-dense", folder_of(dense.save)


def _diffusers() -> Iterator[Sample]:
    import diffusers

    unet = diffusers.UNet2DModel(
        sample_size=8, in_channels=1, out_channels=1, block_out_channels=(4, 4), norm_num_groups=2, layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"), attention_head_dim=2,
    )  # fmt: skip
    for scheduler in (diffusers.DDPMScheduler(), diffusers.DDIMScheduler()):
        kind = type(scheduler).__name__.removesuffix("Scheduler")
        pipeline = getattr(diffusers, f"{kind}Pipeline")(unet=unet, scheduler=scheduler)
        yield f"diffusers-{kind}", folder_of(pipeline.save_pretrained)
    vae = diffusers.AutoencoderKL(block_out_channels=(4,), norm_num_groups=2, latent_channels=2)
    yield "diffusers-autoencoder", folder_of(vae.save_pretrained)


def samples() -> Iterator[Sample]:
    """The models of this family."""
    warnings.simplefilter("ignore")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import torch

    torch.manual_seed(0)
    for make in (_repositories, _heads, _sentences, _diffusers):
        try:
            yield from make()
        except ImportError as error:
            print(f"transformers_repos: left out, {error}")
