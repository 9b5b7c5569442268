"""Reviewed classes and functions turned against the loader: none of these files passes.

Each of them names only what stands in the reviewed data, or what looks as if it did.
"""

import pytest

from fastness.models.scan import Outcome
from tests.unit.models.scan.artifacts import call, report_of, stack_global, stream, text


def pairs(*items: bytes) -> bytes:
    return b"}(" + b"".join(items) + b"u"


def made(module: str, name: str) -> bytes:
    return stack_global(module, name) + b")\x81"


FREED = made("pandas", "DataFrame") + pairs(
    text("_typ"), text("dataframe"), text("__class__"), stack_global("lightgbm.basic", "Booster"), text("_handle"), b"M\x00\x10"
) + b"b"  # fmt: skip
SLOTS = (
    made("sklearn.dummy", "DummyClassifier")
    + b"N"
    + pairs(text("__class__"), stack_global("lightgbm.basic", "Booster"))
    + b"\x86b"
)
TWICE = (
    made("sklearn.dummy", "DummyClassifier")
    + pairs(text("__setstate__"), stack_global("numpy", "tanh"))
    + b"b"
    + text("x")
    + b"b"
)
FILES = {
    # NDFrame.__setstate__ sets every key by object.__setattr__: the object becomes a Booster behind Booster.__setstate__, whose
    # __del__ frees the address that the state names.
    "a table that becomes a booster": FREED,
    "slots that hold another class": SLOTS,
    "a state that puts a function before __setstate__": TWICE,
    "a file opened as an array": call("numpy", "memmap", text("weights.bin")),
    "a file opened as an array, by name": stack_global("numpy", "memmap"),
    "another name of numpy's own module": call("numpy._core", "_ufunc_reconstruct", text("numpy._core._multiarray_umath"), text("fromfile")),
    "another module's name as a ufunc": call("numpy._core", "_ufunc_reconstruct", text("os"), text("system")),
    "a distribution, whose state is run": made("scipy.stats._continuous_distns", "norm_gen") + pairs(text("_parse_arg_template"), text("x")) + b"b",
    "a formula, which is evaluated": made("statsmodels.base.data", "ModelData") + pairs(text("formula"), text("y ~ x")) + b"b",
    "an index of any class": call("pandas.core.indexes.base", "_new_Index", stack_global("subprocess", "Popen"), b"}"),
    "a tensor by any function": call("torch._tensor", "_rebuild_from_type_v2", stack_global("os", "system"), stack_global("torch", "Tensor"), b")", b"}"),
    "a tensor of any class": call(
        "torch._tensor", "_rebuild_from_type_v2", stack_global("torch._utils", "_rebuild_tensor_v2"), stack_global("lib", "Own"), b")", b"}"
    ),
    "an array by any function": call("dill._dill", "_create_array", stack_global("os", "system"), text("true") + b"\x85", b")"),
    "a distance that calls a function": made("sklearn.metrics._dist_metrics", "PyFuncDistance"),
    "a class of a reviewed module": made("sklearn.tree._classes", "Evil"),
    "a method of a reviewed class": call("sklearn.tree._classes", "DecisionTreeClassifier.fit", b"N"),
    "torch's reader of a nested file": call("torch.storage", "_load_from_bytes", b"C\x04\x80\x04N."),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("protocol", [2, 4])
def test_it_does_not_pass(name: str, protocol: int) -> None:
    report = report_of(stream(FILES[name], protocol))
    assert report.outcome in {Outcome.BLOCK, Outcome.REVIEW}, report.verdict.findings
