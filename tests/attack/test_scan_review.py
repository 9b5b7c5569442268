"""What a hostile review of the scanner found: each class of attack by the name of the loader that it goes through.

Success rate of the attacks: 0 of those below. Payloads are inert, and no model is loaded.
"""

import json
from pathlib import Path

import pytest

from fastness.core.findings import Decision
from fastness.models.scan import scan_paths

# A class that a loader imports by a name in the configuration, in the files where the loader looks for it.
NAMED_CLASSES = {
    "a route of sentence-transformers": (
        "router_config.json",
        {"types": {"query": "my_module.Part"}, "structure": {"query": ["query"]}, "parameters": {}},
    ),
    "a dangerous route": ("router_config.json", {"types": {"query": "joblib.numpy_pickle"}, "structure": {}}),
    "a route of the old kind": ("config.json", {"types": {"a": "os.system"}, "structure": {"query": ["a"]}}),
    "a tokenizer of word vectors": ("wordembedding_config.json", {"tokenizer_class": "my_module.Tokenizer"}),
    "an activation of a cross encoder": ("config.json", {"sbert_ce_default_activation_function": "torch.hub.list"}),
    "a part of a modular pipeline": (
        "modular_model_index.json",
        {"_class_name": "X", "unet": ["m", "C", {"repo": "user/x", "type_hint": ["my_module", "Part"]}]},
    ),
    "a modular pipeline that reaches the machine": ("modular_model_index.json", {"a": [None, None, {"type_hint": ["os", "system"]}]}),
    "trust as a number": ("sentence_bert_config.json", {"model_args": {"trust_remote_code": 1}}),
    "trust as a word": ("sentence_bert_config.json", {"model_args": {"trust_remote_code": "yes"}}),
}  # fmt: skip


@pytest.mark.parametrize("name", NAMED_CLASSES)
def test_a_class_that_a_configuration_names_is_never_passed(name: str, tmp_path: Path) -> None:
    file, tree = NAMED_CLASSES[name]
    assert decision_of(tmp_path / file, json.dumps(tree)) is not Decision.ALLOW


HONEST_CONFIGS = {
    "a router": (
        "router_config.json",
        {"types": {"query_0_Transformer": "sentence_transformers.models.Transformer.Transformer"}, "structure": {}},
    ),
    "word vectors": (
        "wordembedding_config.json",
        {"tokenizer_class": "sentence_transformers.models.tokenizer.WhitespaceTokenizer.WhitespaceTokenizer"},
    ),
    "a tokenizer": ("tokenizer_config.json", {"tokenizer_class": "BertTokenizer", "trust_remote_code": False}),
    "a modular pipeline": (
        "modular_model_index.json",
        {"vae": [None, None, {"repo": "user/x", "type_hint": ["diffusers", "AutoencoderKL"]}]},
    ),
    "no trust": ("sentence_bert_config.json", {"model_args": {"trust_remote_code": 0}, "max_seq_length": 512}),
}


@pytest.mark.parametrize("name", HONEST_CONFIGS)
def test_honest_names_pass(name: str, tmp_path: Path) -> None:
    file, tree = HONEST_CONFIGS[name]
    assert decision_of(tmp_path / file, json.dumps(tree)) is Decision.ALLOW


def decision_of(path: Path, content: str | bytes) -> Decision:
    """The decision on one file of that content."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    (report,) = scan_paths([path])
    return report.verdict.decision
