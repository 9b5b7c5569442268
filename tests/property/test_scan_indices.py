"""One index altered in an honest object is found, whichever it is; what is honest passes, however its trees were grown."""

from __future__ import annotations

import pickle
from functools import cache
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor
from sklearn.neighbors import BallTree
from sklearn.tree import DecisionTreeRegressor
from sklearn.tree._tree import Tree

from fastness.models.scan import Outcome
from tests.unit.models.scan.altered import WRITERS, field, honest, item, written
from tests.unit.models.scan.artifacts import report_of, rules_of

RULE = "index-out-of-range"
COLUMNS = 5


@cache
def grown(leaves: int = 12) -> DecisionTreeRegressor:
    random = np.random.default_rng(leaves)
    return DecisionTreeRegressor(max_leaf_nodes=leaves, random_state=0).fit(
        random.random((80, COLUMNS)), random.random(80)
    )


@cache
def boosted() -> HistGradientBoostingRegressor:
    random = np.random.default_rng(1)
    return HistGradientBoostingRegressor(max_iter=1, random_state=0).fit(
        random.random((200, COLUMNS)), random.random(200)
    )


OUTSIDE = st.one_of(st.integers(23, 2**62), st.integers(-(2**62), -2))


@settings(max_examples=300, deadline=None)
@given(
    name=st.sampled_from(["left_child", "right_child", "feature"]),
    which=st.integers(0, 10),
    value=OUTSIDE,
    writer=st.sampled_from(WRITERS),
)
def test_any_index_of_a_tree_that_leads_out(name: str, which: int, value: int, writer: str) -> None:
    nodes = grown().tree_.__getstate__()["nodes"]
    inner = np.nonzero(nodes["left_child"] >= 0)[0]
    assert (len(nodes), len(inner)) == (23, 11)
    report = report_of(written(grown(), Tree, field("nodes", name, int(inner[which]), value), writer))
    assert report.outcome is Outcome.BLOCK
    assert RULE in rules_of(report)


@settings(max_examples=200, deadline=None)
@given(side=st.sampled_from(["left_child", "right_child"]), which=st.integers(0, 10), value=st.integers(0, 22))
def test_any_child_of_a_tree_that_is_another_one(side: str, which: int, value: int) -> None:
    nodes = grown().tree_.__getstate__()["nodes"]
    at = int(np.nonzero(nodes["left_child"] >= 0)[0][which])
    report = report_of(written(grown(), Tree, field("nodes", side, at, value)))
    assert (report.outcome is Outcome.PASS) == (value == nodes[side][at])


@settings(max_examples=100, deadline=None)
@given(name=st.sampled_from(["left", "right"]), which=st.integers(0, 6), value=st.integers(0, 2**32 - 1))
def test_any_child_of_a_tree_of_histogram_boosting(name: str, which: int, value: int) -> None:
    nodes = boosted()._predictors[0][0].nodes
    inner = np.nonzero(nodes["is_leaf"] == 0)[0]
    at = int(inner[which % len(inner)])
    report = report_of(written(boosted(), TreePredictor, field("nodes", name, at, value)))
    assert (report.outcome is Outcome.PASS) == (value == nodes[name][at])


@settings(max_examples=150, deadline=None)
@given(
    form=st.sampled_from(["csr", "csc"]),
    array=st.sampled_from(["indices", "indptr"]),
    at=st.integers(0, 6),
    value=st.one_of(st.integers(21, 2**31 - 1), st.integers(-(2**31), -1)),
    writer=st.sampled_from(WRITERS),
)
def test_any_index_of_a_matrix(form: str, array: str, at: int, value: int, writer: str) -> None:
    matrix = sparse.random(6, 6, 20 / 36, form, random_state=0)
    report = report_of(written(matrix, type(matrix), item(array, at, value), writer))
    assert report.outcome is Outcome.BLOCK
    assert RULE in rules_of(report)


@settings(max_examples=100, deadline=None)
@given(at=st.integers(0, 39), value=st.one_of(st.integers(40, 2**62), st.integers(-(2**62), -1)))
def test_any_point_of_a_tree_of_points(at: int, value: int) -> None:
    made = BallTree(np.random.default_rng(0).random((40, 3)), leaf_size=3)
    report = report_of(written(made, BallTree, item(1, at, value)))
    assert report.outcome is Outcome.BLOCK
    assert RULE in rules_of(report)


@settings(max_examples=60, deadline=None)
@given(leaves=st.integers(2, 40), writer=st.sampled_from(WRITERS))
def test_honest_trees_pass(leaves: int, writer: str) -> None:
    assert rules_of(report_of(honest(grown(leaves), writer))) == set()


@settings(max_examples=100, deadline=None)
@given(
    form=st.sampled_from(["csr", "csc", "bsr", "coo", "dia", "lil", "dok"]),
    kind=st.sampled_from(["matrix", "array"]),
    rows=st.integers(1, 30),
    columns=st.integers(1, 30),
    density=st.floats(0, 1),
    writer=st.sampled_from(WRITERS),
)
def test_honest_matrices_pass(form: str, kind: str, rows: int, columns: int, density: float, writer: str) -> None:
    made: Any = getattr(sparse, f"{form}_{kind}")(sparse.random(rows, columns, density, random_state=rows))
    assert rules_of(report_of(honest(made, writer))) == set()


@settings(max_examples=300, deadline=None)
@given(at=st.integers(0, 10**6), byte=st.integers(0, 255))
def test_any_byte_of_a_tree_altered_is_told_or_harmless(at: int, byte: int) -> None:
    """The scan ends with a verdict, whatever the state has become."""
    data = bytearray(pickle.dumps(grown(), 4))
    data[at % len(data)] = byte
    assert report_of(bytes(data)).outcome in set(Outcome)
