"""What a hostile review of the scanner found: each class of attack by the name of the loader that it goes through.

Success rate of the attacks: 0 of those below. Payloads are inert, and no model is loaded.
"""

import gzip
import json
from pathlib import Path

import pytest

from fastness.core.findings import Decision
from fastness.models.scan import scan_paths
from tests.unit.models.scan.artifacts import proto
from tests.unit.models.scan.keras_bytes import (
    COMPUTES,
    attr,
    function,
    graph_def,
    node,
    saved_model,
    text_constant,
)

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


# Names that are put together by what no constant folding follows, and functions that are given another meaning. With an
# environment that is no sandbox, the first three run the text that they are given.
TEMPLATES = r"""{% macro f(x) %}{% endmacro %}{% set p = '.__init__.__globals__.__builtins__.eval'.split('.') %}{% set f = cycler[p[1]][p[2]][p[3]][p[4]] %}{{ f('1') }}
{% set p = '.__init__.__globals__.__builtins__.eval'.split('.') %}{% set range = cycler[p[1]][p[2]][p[3]][p[4]] %}{{ range('1') }}
{% set p = '.--init--.--globals--.--builtins--.eval'.replace('-', '_').split('.') %}{% set ns = namespace(get=cycler[p[1]][p[2]][p[3]][p[4]]) %}{{ ns.get('1') }}
{% set ns = namespace() %}{% set ns.get = x[y] %}{% set other = ns %}{{ other.get('1') }}
{% macro m(range) %}{{ range('1') }}{% endmacro %}{{ m(x[y]) }}
{% for n in '-.-class-.-b'.split('.') %}{{ x[n] }}{% endfor %}
{{ x['a.-class'.partition('.')[2]] }}
{{ x['class'.center(9, '-')] }}
{{ x['class--'.removesuffix('-')] }}
{{ x['#_class_'.encode().decode()] }}
{% set ns = namespace(k='a') %}{% set ns.k = 'a.-class-'.split('.')[1] %}{{ x[ns.k] }}
{% set ns = namespace(k='a.-class-'.split('.')[1]) %}{{ x[ns.k] }}
{% macro m(k) %}{{ x[k] }}{% endmacro %}{{ m('a.-class-'.split('.')[1]) }}
{% macro n() %}_{% endmacro %}{{ x[n()] }}
{% macro n() %}.-class-{% endmacro %}{% set k = n()[1:] %}{{ x[k] }}
{% set a, b = 'x.-class-'.split('.') %}{{ x[b] }}
{% set c %}-class-{% endset %}{{ x[c] }}
{% set q %}{% for i in range(2) %}_{% endfor %}class{% endset %}{{ x[q] }}
{% set l = [] %}{% do l.append('.-class-'.split('.')[1]) %}{{ x[l[0]] }}
{% set z = x['a'] or '.-class-'.split('.')[1] %}{{ x[z] }}
{% set k = '.-class-'.split('.')[1] %}{{ x[k] }}{% set k = 'role' %}
{% set ns = namespace(k='a.__class__') %}{{ x[ns.k[2:]] }}
{% set d = {'k': 'a.__CLASS__'} %}{{ x[d.k[2:]] }}
{{ messages|groupby('.-class-'.split('.')[1]) }}
{{ messages|sort(false, false, '.-class-'.split('.')[1]) }}
{{ messages|sum('.-class-'.split('.')[1]) }}
{{ messages|map(**{'attribute': '.-class-'.split('.')[1]})|list }}
{{ messages|map(*['attr', 'x'])|list }}
{{ messages|select(*['attr', 'x'])|list }}
{{ ('{0.' + '_' + '_class_' + '_}').format(x) }}
{{ '{0.!class!}'.replace('!', '_').format(x) }}""".splitlines()


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_name_that_is_put_together_is_never_passed(template: str, tmp_path: Path) -> None:
    assert decision_of(tmp_path / "chat_template.jinja", template) is not Decision.ALLOW


HONEST_TEMPLATES = r"""{% for key in fields.keys() | reject('in', ['a']) | list | sort %}{{ fields[key] }}{% endfor %}
{% for key, value in arguments | dictsort %}{{ key }}{{ arguments[key] }}{% endfor %}
{% set n = content.split('</think>') | length %}{{ parts[n - 1] }}{{ content.split('</think>')[-1].lstrip() }}
{% set ns = namespace(last=0, title='') %}{% set ns.last = ns.last + 1 %}{% set ns.title = ns.title + 'x' %}{{ messages[ns.last].content.title() }}
{% set ns = namespace(items=[]) %}{% for key, value in tool.parameters.items() %}{{ tool.parameters[key] }}{% endfor %}
{{ tools | map(attribute='name') | join(', ') }}{{ messages | sort(attribute='time') | list }}{{ names | join('-') }}
{% set names = {'user': 'Human', 'assistant': 'Bot'} %}{{ names[message.role] }}{{ names[message['role']] }}
{% macro show(value) %}{{ value['type'] }}{% endmacro %}{{ show(tool.function | tojson) }}{{ show('a' ~ name) }}""".splitlines()


@pytest.mark.parametrize("template", HONEST_TEMPLATES)
def test_honest_templates_pass(template: str, tmp_path: Path) -> None:
    assert decision_of(tmp_path / "chat_template.jinja", template) is Decision.ALLOW


SAVES = node("s", "SaveV2", "p", "names", "x")
P = text_constant("c", "/root/x")
PATHS = {
    "decoded": (text_constant("c", "L3Jvb3QveA"), node("p", "DecodeBase64", "c"), SAVES),
    "in capitals": (text_constant("c", "/tmp"), node("p", "StringUpper", "c"), SAVES),
    "with other letters": (text_constant("c", "#root"), node("p", "StaticRegexReplace", "c"), SAVES),
    "cut out": (text_constant("c", "x/root"), node("p", "Substr", "c", "i", "j"), SAVES),
    "joined": (P, node("p", "ReduceJoin", "c", "i"), SAVES),
    "written by a format": (node("p", "StringFormat", attrs=attr("template", proto(2, "/root"))), SAVES),
    "chosen from a list": (P, node("p", "GatherV2", "c", "i", "j"), SAVES),
    "a part of a list": (P, node("p", "StridedSlice", "c", "i", "j", "k"), SAVES),
    "repeated": (P, node("p", "Fill", "i", "c"), SAVES),
    "behind a switch": (P, node("q", "Switch", "c", "i"), node("p", "Merge", "q:1", "q"), SAVES),
    "kept in a variable": (P, node("p", "VariableV2"), node("a", "Assign", "p", "c"), SAVES),
    "found in a table": (P, node("p", "LookupTableFindV2", "t", "c", "c"), SAVES),
    "the second of two texts": (
        node("p", "Const", attrs=attr("value", proto(8, proto(1, 7) + proto(8, "x") + proto(8, "/root")))),
        SAVES,
    ),
    "in the other form of a text": (
        node("p", "Const", attrs=attr("value", proto(8, proto(1, 7) + proto(4, b"\x05/root")))),
        SAVES,
    ),
    "at the end of a long chain": (
        text_constant("c", "/root"),
        node("i0", "Identity", "c"),
        *(node(f"i{at}", "Identity", f"i{at - 1}") for at in range(1, 500)),
        node("p", "Identity", "i499"),
        SAVES,
    ),
    "behind more parts than are kept": (
        text_constant("e", ""),
        P,
        node("p", "StringJoin", *["e"] * 1100, "c", *["e"] * 300),
        SAVES,
    ),
    "given to a function": (text_constant("c", "/root/.bashrc"), node("f", "StatefulPartitionedCall", "x", "c")),
    "given to a function, behind its weights": (
        text_constant("c", "/root/.bashrc"),
        node("f", "StatefulPartitionedCall", *["x"] * 900, "c"),
    ),
    "mapped into memory": (node("p", "ImmutableConst", attrs=attr("memory_region_name", proto(2, "/etc/passwd"))),),
}  # fmt: skip


@pytest.mark.parametrize("name", PATHS)
def test_a_path_that_a_graph_makes_up_blocks(name: str, tmp_path: Path) -> None:
    graph = saved_model(graph_def(*COMPUTES, *PATHS[name]))
    assert decision_of(tmp_path / "saved_model.pb", graph) is Decision.DENY


def test_a_path_in_a_function_is_not_covered_by_a_node_of_the_graph_behind_it(tmp_path: Path) -> None:
    """The fields of a message may come in any order: nodes of the graph behind its functions."""
    library = proto(2, function("f", text_constant("p", "/root/x"), node("s", "SaveV2", "p:output:0", "n:output:0")))
    graph = saved_model(library + graph_def(*COMPUTES, text_constant("p", "x"), node("f", "StatefulPartitionedCall")))
    assert decision_of(tmp_path / "saved_model.pb", graph) is Decision.DENY


def test_graphs_that_save_where_they_are_told_pass(tmp_path: Path) -> None:
    """The nodes by which TensorFlow 1 and 2 save and restore: every path begins with what the caller gives."""
    old = (
        text_constant("c", "model"), node("f", "PlaceholderWithDefault", "c"), node("p0", "PlaceholderWithDefault", "f"),
        text_constant("t", "_temp_1/part"), node("j", "StringJoin", "p0", "t"), node("p", "ShardedFilename", "j", "i", "n"),
        SAVES, node("k", "Pack", "p", "^s"), node("m", "MergeV2Checkpoints", "k", "p0"), node("r", "RestoreV2", "p0", "n"),
    )  # fmt: skip
    body = (
        node("e", "StaticRegexFullMatch", "file_prefix"), text_constant("a", ".part"), text_constant("b", "_temp/part"),
        node("w", "Select", "e:output:0", "a:output:0", "b:output:0"), node("j", "StringJoin", "file_prefix", "w:output:0"),
        node("p", "ShardedFilename", "j:output:0", "i:output:0", "n:output:0"), node("s", "SaveV2", "p:filename:0", "n:output:0"),
        node("k", "Pack", "p:filename:0"), node("m", "MergeV2Checkpoints", "k:output:0", "file_prefix"),
    )  # fmt: skip
    given = (
        text_constant("u", "/"),
        text_constant("w", "[UNK]"),
        node("call", "StatefulPartitionedCall", "x", "u", "w"),
    )
    graph = saved_model(graph_def(*COMPUTES, *old, *given, functions=function("f", *body)))
    assert decision_of(tmp_path / "saved_model.pb", graph) is Decision.ALLOW


@pytest.mark.parametrize("name", ["words.txt.gz", "data.csv.gz", "data.TSV.gz"])
def test_compressed_text_passes_and_what_is_no_text_does_not(name: str, tmp_path: Path) -> None:
    assert decision_of(tmp_path / name, gzip.compress(b"a,b\n1,2\n")) is Decision.ALLOW
    assert decision_of(tmp_path / name, gzip.compress(b"\x80\x02cos\nsystem\n(S'id'\ntR.")) is Decision.DENY
    assert decision_of(tmp_path / name, gzip.compress(bytes(range(256)))) is not Decision.ALLOW


@pytest.mark.parametrize(
    "name", ["_call_linear_np", "_call_spline", "_evaluate", "__init__", "_call_linear_np.__globals__"]
)
def test_interpolations_name_how_they_compute_and_nothing_else(name: str, tmp_path: Path) -> None:
    """Honest pickles of scipy.interpolate.interp1d hold one of its own methods, under a dotted name."""
    path = f"\x8c\x1escipy.interpolate._interpolate\x8c{chr(9 + len(name))}interp1d.{name}\x93".encode("latin-1")
    honest = name in {"_call_linear_np", "_call_spline"}
    assert (decision_of(tmp_path / "x.pkl", b"\x80\x04" + path + b".") is Decision.ALLOW) == honest
    assert decision_of(tmp_path / "x.pkl", b"\x80\x04" + path + b"K\x01\x85R.") is not Decision.ALLOW


def decision_of(path: Path, content: str | bytes) -> Decision:
    """The decision on one file of that content."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    (report,) = scan_paths([path])
    return report.verdict.decision
