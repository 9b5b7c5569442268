"""Code that a loader runs because a configuration names it: remote code, Hydra, YAML tags, adapters, MLflow.

Published: CVE-2025-23304 (NeMo, Hydra targets), CVE-2020-14343 (PyYAML, full_load). Success rate of the attacks: 0 of those
below; nothing here may ever run.
"""

import json

import pytest

from fastness.models.scan import Outcome
from tests.unit.models.scan.artifacts import report_of, rules_of

PADDING = {f"token{number}": number for number in range(160_000)}


def config(**keys: object) -> bytes:
    return json.dumps({"model_type": "bert", **keys}).encode()


NAMED: dict[str, tuple[str, bytes, str, Outcome]] = {
    # name: file, bytes, a rule among the findings, outcome
    "auto_map": ("config.json", config(auto_map={"AutoModel": "modeling_x.Model"}), "code-in-model", Outcome.REVIEW),
    "auto_map of another repository": ("config.json", config(auto_map={"AutoModel": "user/repo--modeling_x.Model"}), "code-in-model", Outcome.REVIEW),
    "auto_map of a tokenizer": ("tokenizer_config.json", config(auto_map={"AutoTokenizer": ["tok.Slow", None]}), "code-in-model", Outcome.REVIEW),
    "auto_map deep within": ("config.json", config(text_config={"vision": [{"auto_map": {"AutoModel": "x.Y"}}]}), "code-in-model", Outcome.REVIEW),
    "auto_map with an escaped key": ("config.json", config(auto_map=1).replace(b'"auto_map": 1', b'"\\u0061uto_map": "x.Y"'), "code-in-model", Outcome.REVIEW),
    "auto_map behind a decoy": ("config.json", b'{"auto_map": {"AutoModel": "x.Y"}, "auto_map": null}', "code-in-model", Outcome.REVIEW),
    "auto_map behind a large padding": ("config.json", config(**PADDING, auto_map={"AutoModel": "x.Y"}), "code-in-model", Outcome.REVIEW),
    "auto_map in a large padding, escaped": (
        "config.json", config(**PADDING, auto_map="x.Y").replace(b'"auto_map"', b'"auto\\u005fmap"'), "code-in-model", Outcome.REVIEW,
    ),
    "a custom pipeline": ("config.json", config(custom_pipelines={"x": {"impl": "pipe.Pipe", "pt": ["AutoModel"]}}), "code-in-model", Outcome.REVIEW),
    "a kernel of another repository": ("config.json", config(attn_implementation="user/kernel"), "code-in-model", Outcome.REVIEW),
    "trust": ("config.json", config(trust_remote_code=True), "config-trusts-code", Outcome.REVIEW),
    "trust as a text": ("config.yaml", b"model:\n  trust_remote_code: 'True'\n", "config-trusts-code", Outcome.REVIEW),
    "Hydra in JSON": ("config.json", config(head={"_target_": "os.system", "command": "true"}), "class-dangerous", Outcome.BLOCK),
    "Hydra": ("config.yaml", b"a:\n  _target_: os.system\n  command: 'true'\n", "class-dangerous", Outcome.BLOCK),
    "Hydra, builtins": ("config.yaml", b"_target_: builtins.eval\n", "class-dangerous", Outcome.BLOCK),
    "Hydra, unknown": ("config.yaml", b"_target_: company.run\n", "class-unknown", Outcome.REVIEW),
    "Hydra, a partial": ("config.yaml", b"_target_: subprocess.Popen\n_partial_: true\n", "class-dangerous", Outcome.BLOCK),
    "Hydra through an alias": ("config.yaml", b"x: &t os.system\ny:\n  _target_: *t\n", "class-dangerous", Outcome.BLOCK),
    "Hydra through a merge": ("config.yaml", b"x: &t {_target_: os.system}\ny:\n  <<: *t\n", "class-dangerous", Outcome.BLOCK),
    "Hydra in a later document": ("config.yaml", b"a: 1\n---\n_target_: os.system\n", "class-dangerous", Outcome.BLOCK),
    "NeMo's target": ("model_config.yaml", b"target: subprocess.Popen\n", "class-dangerous", Outcome.BLOCK),
    "Lightning's class path": ("config.yaml", b"model:\n  class_path: os.system\n  init_args: {command: x}\n", "class-dangerous", Outcome.BLOCK),
    "YAML object/apply": ("config.yaml", b"b: !!python/object/apply:os.system ['true']\n", "class-dangerous", Outcome.BLOCK),
    "YAML object/new": ("config.yaml", b"b: !!python/object/new:subprocess.Popen [[ls]]\n", "class-dangerous", Outcome.BLOCK),
    "YAML object": ("config.yaml", b"b: !!python/object:company.Thing {a: 1}\n", "class-unknown", Outcome.REVIEW),
    "YAML name": ("config.yaml", b"b: !!python/name:os.system ''\n", "class-dangerous", Outcome.BLOCK),
    "YAML module": ("config.yaml", b"b: !!python/module:company.evil ''\n", "class-unknown", Outcome.REVIEW),
    "YAML by the whole tag": ("config.yaml", b"b: !<tag:yaml.org,2002:python/object/apply:os.system> ['true']\n", "class-dangerous", Outcome.BLOCK),
    "YAML by a handle": ("config.yaml", b"%TAG !p! tag:yaml.org,2002:python/object/apply:\n---\nb: !p!os.system ['true']\n", "class-dangerous", Outcome.BLOCK),
    "YAML with an escaped tag": ("config.yaml", b"b: !!python/object/apply:os%2Esystem ['true']\n", "class-dangerous", Outcome.BLOCK),
    "YAML at a key": ("config.yaml", b"? !!python/object/apply:os.system ['true']\n: 1\n", "class-dangerous", Outcome.BLOCK),
    "HyperPyYAML new": ("hyperparams.yaml", b"a: !new:subprocess.Popen\n  args: ls\n", "class-dangerous", Outcome.BLOCK),
    "HyperPyYAML apply": ("hyperparams.yaml", b"a: !apply:os.system ['true']\n", "class-dangerous", Outcome.BLOCK),
    "HyperPyYAML name": ("hyperparams.yaml", b"a: !name:os.system\n", "class-dangerous", Outcome.BLOCK),
    "HyperPyYAML include": ("hyperparams.yaml", b"a: !include:../../secrets.yaml\n", "reference-escapes", Outcome.BLOCK),
    "a sentence-transformers module": ("modules.json", b'[{"idx": 0, "name": "0", "path": "", "type": "os.system"}]', "class-dangerous", Outcome.BLOCK),
    "a module of the repository": ("modules.json", b'[{"idx": 0, "name": "0", "path": "", "type": "custom_st.Transformer"}]', "class-unknown", Outcome.REVIEW),
    "a module elsewhere": ("modules.json", b'[{"path": "../..", "type": "sentence_transformers.models.Pooling"}]', "reference-escapes", Outcome.BLOCK),
    "an activation function": ("config.json", b'{"in_features": 4, "activation_function": "subprocess.Popen"}', "class-dangerous", Outcome.BLOCK),
    "a padded list of modules": ("modules.json", b"[" + b" " * (3 << 20) + b"]", "json-malformed", Outcome.INCOMPLETE),
    "a diffusers part": ("model_index.json", b'{"_class_name": "X", "unet": ["os", "system"]}', "class-dangerous", Outcome.BLOCK),
    "a diffusers pipeline of the repository": ("model_index.json", b'{"_class_name": ["pipeline", "Pipe"]}', "class-unknown", Outcome.REVIEW),
    "a diffusers part of the repository": ("model_index.json", b'{"_class_name": "DDPMPipeline", "unet": ["my_unet", "Net"]}', "class-unknown", Outcome.REVIEW),
    "an adapter's module": ("adapter_config.json", b'{"auto_mapping": {"base_model_class": "system", "parent_library": "os"}}', "class-dangerous", Outcome.BLOCK),
    "an adapter's own module": ("adapter_config.json", b'{"auto_mapping": {"base_model_class": "X", "parent_library": "evil"}}', "class-unknown", Outcome.REVIEW),
    "an adapter's Megatron": ("adapter_config.json", b'{"megatron_config": {}, "megatron_core": "evil.core"}', "class-unknown", Outcome.REVIEW),
    "an adapter's base elsewhere": ("adapter_config.json", b'{"base_model_name_or_path": "../../../etc"}', "reference-escapes", Outcome.BLOCK),
    "MLflow's loader": ("MLmodel", b"flavors:\n  python_function:\n    loader_module: evil\n", "class-unknown", Outcome.REVIEW),
    "MLflow's loader, dangerous": ("MLmodel", b"flavors:\n  python_function:\n    loader_module: os.system\n", "class-dangerous", Outcome.BLOCK),
    "MLflow's code": ("MLmodel", b"flavors:\n  python_function:\n    loader_module: mlflow.pyfunc.loaders.code_model\n    model_code_path: m.py\n",
                      "class-dangerous", Outcome.BLOCK),
    "shards elsewhere": ("model.safetensors.index.json", b'{"weight_map": {"a": "../../../etc/passwd"}}', "reference-escapes", Outcome.BLOCK),
    "shards by a drive": ("model.safetensors.index.json", b'{"weight_map": {"a": "C:\\\\x"}}', "reference-escapes", Outcome.BLOCK),
    "a template in a processor": ("processor_config.json", b'{"chat_template": "{{ x.__class__ }}"}', "template-escapes", Outcome.BLOCK),
    "named templates": (
        "tokenizer_config.json", b'{"chat_template": [{"name": "default", "template": "ok"}, {"name": "rag", "template": "{{ x.__class__ }}"}]}',
        "template-escapes", Outcome.BLOCK,
    ),
    "a template in chat_template.json": ("chat_template.json", b'{"chat_template": "{{ x.__class__ }}"}', "template-escapes", Outcome.BLOCK),
    "a template behind a large padding": ("tokenizer_config.json", config(**PADDING, chat_template="{{ x.__class__ }}"), "template-escapes", Outcome.BLOCK),
    "logging's factory": ("logging.yaml", b"handlers:\n  a:\n    (): os.system\n    command: id\n", "class-dangerous", Outcome.BLOCK),
    "a callable under another key": ("pipeline.yaml", b"steps:\n- callable: subprocess.run\n", "class-dangerous", Outcome.BLOCK),
    "a callable in TOML": ("pipeline.toml", b"[step]\nfunction = 'os.system'\n", "class-dangerous", Outcome.BLOCK),
    "spaCy's callback": ("config.cfg", b'[nlp.before_creation]\n@callbacks = "evil.run.v1"\n', "class-unknown", Outcome.REVIEW),
    "spaCy's reader": ("config.cfg", b'[nlp]\ntokenizer = {"@tokenizers":"spacy.Tokenizer.v1"}\n[corpora.train]\n@readers = "evil.read.v1"\n', "class-unknown", Outcome.REVIEW),
    "spaCy's tokenizer": ("config.cfg", b'[nlp]\ntokenizer = {"@tokenizers":"evil.Tokenizer.v1"}\n', "class-unknown", Outcome.REVIEW),
    "spaCy's factory": ("config.cfg", b'[nlp]\nlang = "en"\n[components.a]\nfactory = "evil"\n', "class-unknown", Outcome.REVIEW),
    "AllenNLP's type": ("config.json", b'{"dataset_reader": {"type": "evil.Reader"}, "model": {"type": "basic"}}', "class-unknown", Outcome.REVIEW),
    "AllenNLP's package": ("config.json", b'{"include_package": "evil"}', "code-in-model", Outcome.REVIEW),
    "Jsonnet": ("config.jsonnet", b"local a = 1;\n{ model: { type: 'subprocess.Popen', x: a } }\n", "class-dangerous", Outcome.BLOCK),
    "OmegaConf's eval": ("config.yaml", b"a: ${eval:'__import__(\"os\").system(\"id\")'}\n", "config-runs-text", Outcome.BLOCK),
    "OmegaConf's secret in an address": ("config.yaml", b"a: https://x.y/?k=${oc.env:AWS_SECRET_ACCESS_KEY}\n", "config-reads-secret", Outcome.REVIEW),
    "fairseq's folder": ("config.yaml", b"common:\n  user_dir: evil\n", "code-in-model", Outcome.REVIEW),
    "Triton's backend": ("config.pbtxt", b'name: "m"\nbackend: "python"\n', "code-in-model", Outcome.REVIEW),
    "BentoML's service": ("bento.yaml", b"service: service:Svc\n", "code-in-model", Outcome.REVIEW),
    "LangChain's constructor": ("chain.json", b'{"lc": 1, "type": "constructor", "id": ["langchain", "tools", "shell", "ShellTool"], "kwargs": {}}', "class-unknown", Outcome.REVIEW),
    "LangChain's chain of commands": ("chain.json", b'{"_type": "llm_bash_chain"}', "class-dangerous", Outcome.BLOCK),
    "a template of a tool": ("additional_chat_templates/tool.jinja", b"{{ x.__class__ }}", "template-escapes", Outcome.BLOCK),
}  # fmt: skip


@pytest.mark.parametrize(("name", "data", "rule", "outcome"), NAMED.values(), ids=NAMED)
def test_what_a_configuration_makes_a_loader_run_is_told(name: str, data: bytes, rule: str, outcome: Outcome) -> None:
    report = report_of(data, name)
    assert rule in rules_of(report), report.verdict.findings
    assert report.outcome is outcome


HONEST: dict[str, tuple[str, bytes]] = {
    "an architecture": ("config.json", config(architectures=["BertModel"], torch_dtype="float32", hidden_act="gelu")),
    "no trust": ("config.json", config(trust_remote_code=False)),
    "an attention of the library": ("config.json", config(attn_implementation="flash_attention_2")),
    "a target that is a number": ("config.yaml", b"target: 5\nother:\n  target: label\n"),
    "a target that is a file": ("config.yaml", b"target: train.csv\n"),
    "layers": ("config.yaml", b"a:\n  _target_: torch.nn.Linear\n  in_features: 1\n"),
    "a namespace": ("hparams.yaml", b"!!python/object:argparse.Namespace\nlr: 1\n"),
    "an adapter": ("adapter_config.json", b'{"base_model_name_or_path": "a/b", "megatron_core": "megatron.core", "auto_mapping": null}'),
    "an adapter with a mapping": (
        "adapter_config.json", b'{"auto_mapping": {"base_model_class": "BertModel", "parent_library": "transformers.models.bert.modeling_bert"}}',
    ),
    "logging": ("logging.yaml", b"handlers:\n  a:\n    class: logging.FileHandler\n    filename: x.log\n"),
    "spaCy": ("config.cfg", (b'[nlp]\nlang = "en"\ntokenizer = {"@tokenizers":"spacy.Tokenizer.v1"}\n[components.ner]\nfactory = "ner"\n[components.ner.model]\n'
              b'@architectures = "spacy.TransitionBasedParser.v2"\n[training.optimizer]\n@optimizers = "Adam.v1"\n[initialize]\nbefore_init = null\n')),
    "versions of types for Node": ("package.json", b'{"devDependencies": {"@types/node": "^18.0.0", "@readers/x": "1.0.0"}}'),
    "AllenNLP": ("config.json", b'{"dataset_reader": {"type": "snli"}, "model": {"type": "basic_classifier"}, "trainer": {"optimizer": {"type": "adam"}}}'),
    "OmegaConf": ("config.yaml", b"a: ${oc.env:DATA_DIR}\nb: ${hydra:runtime.cwd}/x\nc: ${eval:'2 * ${d}'}\n"),
    "Triton": ("config.pbtxt", b'name: "m"\nbackend: "onnxruntime"\nmax_batch_size: 8\ninput [{ name: "x" data_type: TYPE_FP32 dims: [ 3 ] }]\n'),
    "LangChain": ("prompt.json", b'{"_type": "prompt", "template": "Tell {x}", "input_variables": ["x"]}'),
    "callables of nobody": ("config.yaml", b"type: linear\nclass: cat\nfunction: relu\nhandler: none\ncommand: train\n"),
    "an activation": ("config.json", b'{"activation_function": "gelu_new"}'),
    "an index": ("model.safetensors.index.json", b'{"weight_map": {"a": "model-00001-of-00001.safetensors"}}'),
}  # fmt: skip


@pytest.mark.parametrize(("name", "data"), HONEST.values(), ids=HONEST)
def test_honest_configurations_pass(name: str, data: bytes) -> None:
    assert rules_of(report_of(data, name)) == set()
