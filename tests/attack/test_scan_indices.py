"""Attack: a pickle of reviewed classes only hands them indices that lead out of their arrays, or back.

scikit-learn, scipy and numpy go by the numbers of a state without looking at them (`Tree.__setstate__` checks element type and
shape alone): predicting then reads or writes any memory, or never ends. The same files were a pass before. Success rate: 0.
`test_such_numbers_do_end_the_process` shows what the libraries do with some of them.
"""

from __future__ import annotations

import io
import json
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from scipy.interpolate import BSpline
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor
from sklearn.feature_extraction import DictVectorizer
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.metrics import DistanceMetric
from sklearn.neighbors import BallTree, KDTree, KNeighborsClassifier
from sklearn.svm import SVC, SVR
from sklearn.tree import DecisionTreeClassifier
from sklearn.tree._tree import Tree

from fastness.models.scan import Outcome
from tests.unit.models.scan.altered import WRITERS, Change, field, item, put, written
from tests.unit.models.scan.artifacts import report_of, rules_of
from tests.unit.models.scan.written import fixture

FAR = 1 << 40
_RANDOM = np.random.RandomState(0)
X, Y = _RANDOM.rand(60, 4), np.arange(60) % 3
Case = tuple[Callable[[], object], type, Change]


@cache
def tree() -> DecisionTreeClassifier:
    return DecisionTreeClassifier(random_state=0).fit(X, Y)


@cache
def boosted() -> GradientBoostingClassifier:
    return GradientBoostingClassifier(n_estimators=2, max_depth=2, random_state=0).fit(X, Y)


def overgrown() -> GradientBoostingClassifier:
    """joblib writes an array of objects by a pickler of its own, so that the tree itself is altered."""
    model = GradientBoostingClassifier(n_estimators=2, max_depth=2, random_state=0).fit(X, Y)
    held = model.estimators_[1, 2].tree_
    held.__setstate__(field("nodes", "feature", 0, FAR)(held.__getstate__()))
    return model


@cache
def histogram() -> HistGradientBoostingClassifier:
    return HistGradientBoostingClassifier(max_iter=2, random_state=0).fit(X, Y)


@cache
def points() -> KDTree:
    return KDTree(X, leaf_size=4)


@cache
def support() -> SVC:
    return SVC().fit(X, Y)


def matrix(form: str) -> object:
    return sparse.random(6, 8, 0.4, form, random_state=0)


def generator(change: Change) -> Change:
    """Alters the words that the state holds within it, or beside it."""

    def altered(state: Any) -> Any:
        outer = state[0] if isinstance(state, tuple) else state
        outer = {**outer, "state": change(outer["state"]) if "pos" in outer["state"] else outer["state"]}
        outer = change(outer) if "buffer_pos" in outer else outer
        return (outer, *state[1:]) if isinstance(state, tuple) else outer

    return altered


def narrow(distance: Any) -> Any:
    distance.__setstate__((2.0, np.ones(1), np.ones((1, 1))))
    return distance


CASES: dict[str, Case] = {
    "left child beyond": (tree, Tree, field("nodes", "left_child", 0, FAR)),
    "right child beyond": (tree, Tree, field("nodes", "right_child", 0, FAR)),
    "child just beyond": (tree, Tree, lambda s: field("nodes", "right_child", 0, len(s["nodes"]))(s)),
    "child before the first": (tree, Tree, field("nodes", "right_child", 0, -2)),
    "right child of an inner node is none": (tree, Tree, field("nodes", "right_child", 0, -1)),
    "child that is the node itself": (tree, Tree, field("nodes", "left_child", 0, 0)),
    "child that leads back": (tree, Tree, lambda s: field("nodes", "left_child", int(np.nonzero(s["nodes"]["left_child"] > 0)[0][-1]), 0)(s)),
    "one child twice": (tree, Tree, lambda s: field("nodes", "left_child", 0, s["nodes"]["right_child"][0])(s)),
    "feature beyond": (tree, Tree, field("nodes", "feature", 0, FAR)),
    "feature just beyond": (tree, Tree, field("nodes", "feature", 0, 4)),
    "feature below": (tree, Tree, field("nodes", "feature", 0, -3)),
    "more nodes than there are": (tree, Tree, put("node_count", FAR)),
    "no nodes": (tree, Tree, put("node_count", 0)),
    "more features than the data": (tree, DecisionTreeClassifier, put("n_features_in_", 1)),
    "a forest's tree": (lambda: RandomForestClassifier(3, random_state=0).fit(X, Y), Tree, field("nodes", "feature", 0, FAR)),
    "a boosted tree": (overgrown, Tree, lambda state: state),
    "boosting for fewer columns": (boosted, GradientBoostingClassifier, put("n_features_in_", 1)),
    "boosting with more trees than classes": (
        boosted, GradientBoostingClassifier, put("estimators_", lambda held: np.repeat(held, 9, axis=1))),
    "boosting that says more trees than classes": (
        boosted, GradientBoostingClassifier,
        lambda s: put("n_trees_per_iteration_", 27)(put("estimators_", lambda held: np.repeat(held, 9, axis=1))(s))),
    "histogram child beyond": (histogram, TreePredictor, field("nodes", "left", 0, 1 << 30)),
    "histogram child back": (histogram, TreePredictor, field("nodes", "left", 0, 0)),
    "histogram feature": (histogram, TreePredictor, field("nodes", "feature_idx", 0, FAR)),
    "histogram for fewer columns": (histogram, HistGradientBoostingClassifier, put("n_features_in_", 1)),
    "histogram categories without bits": (histogram, TreePredictor, field("nodes", "is_categorical", 0, 1)),
    "histogram without a leaf": (histogram, TreePredictor, lambda s: {**s, "nodes": altered_leaves(s["nodes"])}),
    "point beyond": (points, KDTree, item(1, 0, FAR)),
    "point below": (points, KDTree, item(1, 0, -1)),
    "points of a node beyond": (points, KDTree, lambda s: put(2, _with(s[2], "idx_end", FAR))(s)),
    "points of a node below": (points, KDTree, lambda s: put(2, _with(s[2], "idx_start", -FAR))(s)),
    "leaves that are none": (points, KDTree, lambda s: put(2, _with(s[2], "is_leaf", 0))(s)),
    "more nodes of points": (points, KDTree, put(6, FAR)),
    "fewer bounds": (points, KDTree, put(3, np.zeros((2, 1, 4)))),
    "fewer points": (points, KDTree, put(0, np.zeros((1, 4)))),
    "ball tree": (lambda: BallTree(X, leaf_size=4), BallTree, item(1, 0, FAR)),
    "distance of fewer columns": (
        lambda: BallTree(X, metric=DistanceMetric.get_metric("seuclidean", V=np.ones(4))), BallTree, put(11, narrow)),
    "class of a neighbour": (
        lambda: KNeighborsClassifier(algorithm="brute").fit(X, Y), KNeighborsClassifier, item("_y", 0, FAR)),
    "support vectors": (support, SVC, put("support_", np.zeros(9999, np.int32))),
    "coefficients of support vectors": (support, SVC, put("_dual_coef_", np.zeros((2, 1)))),
    "classes of support vectors": (support, SVC, put("_n_support", np.zeros(9, np.int32))),
    "intercepts": (support, SVC, put("_intercept_", np.zeros(1))),
    "support beyond the samples": (lambda: SVC(kernel="precomputed").fit(X @ X.T, Y), SVC, item("support_", 0, 1 << 30)),
    "regression": (lambda: SVR().fit(X, Y), SVR, put("support_", np.zeros(9999, np.int32))),
    **{f"{form} {name}": (partial(matrix, form), getattr(sparse, f"{form}_matrix"), change)
       for form in ("csr", "csc", "bsr")
       for name, change in {
           "index": item("indices", 0, 1 << 30), "index below": item("indices", 0, -1), "first": item("indptr", 0, -1),
           "lines that go back": item("indptr", 2, 1 << 30), "fewer lines": put("indptr", np.zeros(2, np.int32)),
           "wider values": put("indices", np.zeros(0, np.int32)), "shape": put("_shape", (1, 1)),
       }.items()},
    "csc rows": (lambda: matrix("csc"), sparse.csc_matrix, put("_shape", (1, 8))),
    "bsr blocks": (lambda: sparse.bsr_matrix(np.eye(4), blocksize=(2, 2)), sparse.bsr_matrix, put("data", np.zeros((2, 3, 3)))),
    "coo place": (lambda: matrix("coo"), sparse.coo_matrix, put("coords", lambda old: (old[0] + (1 << 30), old[1]))),
    "coo below": (lambda: matrix("coo"), sparse.coo_matrix, put("coords", lambda old: (old[0], old[1] - 99))),
    "coo values": (lambda: matrix("coo"), sparse.coo_matrix, put("data", np.zeros(1))),
    "dia diagonals": (lambda: matrix("dia"), sparse.dia_matrix, put("offsets", np.zeros(9999, np.int32))),
    "lil columns": (lambda: sparse.lil_matrix(np.eye(3)), sparse.lil_matrix, item("rows", 0, [1 << 30])),  # type: ignore[arg-type]
    "lil values": (lambda: sparse.lil_matrix(np.eye(3)), sparse.lil_matrix, item("data", 0, [1.0] * 9)),  # type: ignore[arg-type]
    "words": (lambda: CountVectorizer().fit(["ab cd"]), CountVectorizer, put("vocabulary_", {"ab": 0, "cd": FAR})),
    "words below": (lambda: CountVectorizer().fit(["ab cd"]), CountVectorizer, put("vocabulary_", {"ab": 0, "cd": -1})),
    "many words": (
        lambda: CountVectorizer().fit(["ab cd"]), CountVectorizer,
        put("vocabulary_", {f"w{i}": i + (i == 1500) * FAR for i in range(2000)})),
    "keys": (lambda: DictVectorizer().fit([{"a": 1}]), DictVectorizer, put("vocabulary_", {"a": 1})),
    "spline": (lambda: BSpline(np.arange(9.0), np.ones(5), 3), BSpline, put("k", -(10**8))),
    "spline of few coefficients": (lambda: BSpline(np.arange(9.0), np.ones(5), 3), BSpline, put("_c", np.ones(1))),
    "random words used": (lambda: np.random.MT19937(0), np.random.MT19937, generator(put("pos", 10**9))),
    "random words below": (lambda: np.random.MT19937(0), np.random.MT19937, generator(put("pos", -1))),
    "random state": (lambda: np.random.RandomState(0), np.random.RandomState, generator(put("pos", 10**9))),
    "philox": (lambda: np.random.Philox(0), np.random.Philox, generator(put("buffer_pos", -(10**9)))),
}  # fmt: skip


def _with(array: Any, name: str, value: int) -> Any:
    array = np.array(array)
    array[name] = value
    return array


def altered_leaves(nodes: Any) -> Any:
    nodes = nodes.copy()
    nodes["is_leaf"] = 0
    return nodes


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("case", CASES)
def test_a_number_that_leads_out_blocks(case: str, writer: str) -> None:
    make, kind, change = CASES[case]
    report = report_of(written(make(), kind, change, writer))
    assert report.outcome is Outcome.BLOCK, report.verdict
    assert "index-out-of-range" in rules_of(report)


_VICTIM = """
import json, os, pickle, signal, sys
import numpy as np
import scipy.sparse, sklearn.ensemble, sklearn.neighbors, sklearn.svm
ended = {}
for name, (path, use) in json.loads(sys.stdin.read()).items():
    child = os.fork()
    if not child:
        signal.alarm(20)
        try:
            exec(use, {"m": pickle.load(open(path, "rb")), "np": np})
        except BaseException as error:
            print(name, type(error), error, file=sys.stderr)
        os._exit(0)
    ended[name] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print(json.dumps(ended))
"""
_USES = {
    "feature beyond": "m.predict(np.zeros((1, 4)))",
    "right child beyond": "m.predict(np.full((9, 4), 9.0))",
    "histogram child beyond": "m.predict(np.full((9, 4), -9.0))",
    "point beyond": "m.query(np.zeros((1, 4)), k=60)",
    "support vectors": "m.predict(np.zeros((1, 4)))",
    "csr index": "m @ np.ones(8)",
    "random words used": "m.random_raw(9)",
}


def test_such_numbers_do_end_the_process(tmp_path: Any) -> None:
    asked = {}
    for name, use in _USES.items():
        make, kind, change = CASES[name]
        path = tmp_path / name
        path.write_bytes(written(make(), kind, change))
        asked[name] = (str(path), use)
    run = subprocess.run([sys.executable, "-W", "ignore", "-c", _VICTIM], input=json.dumps(asked), capture_output=True, text=True,
                         check=True, env={"OMP_NUM_THREADS": "1"})  # fmt: skip
    assert {name: code for name, code in json.loads(run.stdout).items() if code >= 0} == {}, run.stderr


def test_a_loop_of_nodes_blocks() -> None:
    model = tree()
    nodes = model.tree_.__getstate__()["nodes"]
    inner = [at for at, node in enumerate(nodes) if node["left_child"] >= 0]
    for child in ("left_child", "right_child"):
        for at in inner:
            for back in range(at + 1):
                report = report_of(written(model, Tree, field("nodes", child, at, back)))
                assert "index-out-of-range" in rules_of(report), (child, at, back)


def test_numbers_that_are_replaced_afterwards_block() -> None:
    state = pickle.dumps(np.arange(40, dtype=np.int32), 2)
    twice = state[:-1] + b"(K\x01K\x01\x85cnumpy\ndtype\nX\x02\x00\x00\x00i4\x89\x88\x87R\x89U\x04aaaatb."
    report = report_of(twice)
    assert "index-out-of-range" in rules_of(report), report.verdict


def test_words_that_change_under_their_class_block() -> None:
    words = {f"w{i}": i for i in range(500)}
    model = CountVectorizer().fit(["ab"])
    model.vocabulary_ = words
    data = pickle.dumps((model, words), 2)
    behind = data.rindex(b"\x86")
    report = report_of(data[:behind] + b"X\x04\x00\x00\x00moreK\x00s" + data[behind:])
    assert "index-out-of-range" not in rules_of(report_of(data))
    assert "index-out-of-range" in rules_of(report), report.verdict


def test_what_cannot_be_followed_is_for_review() -> None:
    model = tree()
    filler = {f"filler{i}": i for i in range(300)}
    for change in (lambda s: {**filler, **s}, put("nodes", None), put("node_count", 2.5)):
        report = report_of(written(model, Tree, change))
        assert report.outcome is Outcome.REVIEW, report.verdict
        assert "index-unfollowed" in rules_of(report)


@pytest.mark.parametrize("kind", ["V8", "S8", "f8", "U2", "M8", "m8", "c8"])
def test_nodes_whose_fields_are_no_whole_numbers_do_not_pass(kind: str) -> None:
    """Found by fuzzing: a comparison of fields that hold raw bytes ended the reader."""
    data = pickle.dumps(tree(), 2)
    report = report_of(data.replace(b"i8", kind.encode()), "m.pkl")
    assert report.outcome in {Outcome.REVIEW, Outcome.BLOCK}
    assert "reader-failed" not in rules_of(report)


def test_a_tree_in_the_place_of_an_estimator_is_for_review() -> None:
    report = report_of(pickle.dumps({"model": tree().tree_}))
    assert rules_of(report) == {"index-unfollowed"}
    assert report_of(pickle.dumps(tree().tree_)).outcome is Outcome.PASS


def test_a_tree_that_does_not_say_its_columns_is_for_review() -> None:
    def forgotten(state: dict[str, object]) -> dict[str, object]:
        return {key: value for key, value in state.items() if key != "n_features_in_"}

    report = report_of(written(tree(), DecisionTreeClassifier, forgotten))
    assert rules_of(report) == {"index-unfollowed"}


def test_a_tree_without_nodes_blocks() -> None:
    report = report_of(written(tree(), Tree, lambda _: None))
    assert "index-out-of-range" in rules_of(report)


def packed(form: str, **changes: Any) -> bytes:
    """A matrix as scipy keeps it in an archive, some of its arrays changed."""
    target = io.BytesIO()
    sparse.save_npz(target, sparse.coo_array(np.ones((2, 3, 4))) if form == "coo3" else matrix(form))
    target.seek(0)
    with np.load(target) as archive:
        arrays = {name: archive[name] for name in archive.files}
    for name, change in changes.items():
        arrays[name] = change(arrays[name])
    target = io.BytesIO()
    np.savez(target, **arrays)
    return target.getvalue()


ARCHIVES = {
    "csr index": ("csr", {"indices": lambda old: old + (1 << 30)}),
    "csr below": ("csr", {"indices": lambda old: old - 1}),
    "csr lines": ("csr", {"indptr": lambda old: old[::-1]}),
    "csr lines of another shape": ("csr", {"shape": lambda _: np.array([7, 8])}),
    "csc index": ("csc", {"indices": lambda old: old + 6}),
    "csc of another shape": ("csc", {"shape": lambda _: np.array([1, 8])}),
    "bsr index": ("bsr", {"indices": lambda old: old + 99}),
    "bsr blocks": ("bsr", {"data": lambda old: np.zeros((len(old), 4, 5))}),
    "coo row": ("coo", {"row": lambda old: old + 6}),
    "coo column": ("coo", {"col": lambda old: old - 8}),
    "coo values": ("coo", {"data": lambda _: np.zeros(1)}),
    "coo place": ("coo3", {"coords": lambda old: old + 2}),
    "coo place of the last axis": ("coo3", {"coords": lambda old: old + np.array([[0], [0], [4]])}),
    "coo place below": ("coo3", {"coords": lambda old: np.asfortranarray(old - np.array([[0], [0], [4]]))}),
    "dia": ("dia", {"offsets": lambda _: np.zeros(99, np.int32)}),
    "old text of bytes": ("csr", {"indices": lambda old: old + 99, "format": lambda _: np.array(b"csr")}),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archived_matrix_that_leads_out_blocks(name: str) -> None:
    form, changes = ARCHIVES[name]
    report = report_of(packed(form, **changes), "m.npz")
    assert report.outcome is Outcome.BLOCK
    assert rules_of(report) == {"index-out-of-range"}, report.verdict


def test_an_archived_matrix_beside_another_file_blocks() -> None:
    target = io.BytesIO(packed("csr", indices=lambda old: old + 99))
    with zipfile.ZipFile(target, "a") as archive:
        archive.writestr("notes.txt", "The matrix of the paper.")
    assert "index-out-of-range" in rules_of(report_of(target.getvalue(), "m.npz"))


def test_an_archived_matrix_that_cannot_be_followed_is_for_review() -> None:
    for name, value in {"shape": np.array([6.0, 8.0]), "indices": np.zeros(19)}.items():
        report = report_of(packed("csr", **{name: lambda _, given=value: given}), "m.npz")
        assert rules_of(report) == {"index-unfollowed"}, report.verdict


def torch_sparse(form: str, **changes: Any) -> bytes:
    """A sparse tensor that torch wrote, some of its storages changed: `s0` is that of the key 0."""
    target = io.BytesIO()
    given = io.BytesIO(fixture("torch", f"zip-sparse{form}", "model.pt"))
    with zipfile.ZipFile(given) as old, zipfile.ZipFile(target, "w") as new:
        for info in old.infolist():
            data = old.read(info)
            change = changes.get(f"s{info.filename.rpartition('/')[2]}") if "/data/" in info.filename else None
            change = changes.get("pickle") if info.filename.endswith("data.pkl") else change
            new.writestr(info.filename, data if change is None else change(data))
    return target.getvalue()


def words(change: Callable[[Any], Any], kind: str = "<i8") -> Callable[[bytes], bytes]:
    return lambda data: bytes(change(np.frombuffer(data, kind).copy()).astype(kind).tobytes())


TENSORS = {
    "coo row": ("", {"s0": words(lambda old: old + np.array([0, FAR, 0, 0]))}),
    "coo column": ("", {"s0": words(lambda old: old + np.array([0, 0, 0, 2]))}),
    "coo below": ("", {"s0": words(lambda old: old - 1)}),
    "hybrid": ("-hybrid", {"s0": words(lambda old: old + 9)}),
    "csr lines": ("-csr", {"s0": words(lambda old: old + FAR)}),
    "csr lines back": ("-csr", {"s0": words(lambda old: old[::-1])}),
    "csr column": ("-csr", {"s1": words(lambda old: old + 1)}),
    "csc column": ("-csc", {"s1": words(lambda old: old + FAR)}),
    "bsr column": ("-bsr", {"s1": words(lambda old: old + 1)}),
    "bsc lines": ("-bsc", {"s0": words(lambda old: old * 3)}),
    "a batch": ("-batches", {"s1": words(lambda old: old + np.arange(16))}),
    "size": ("", {"pickle": lambda data: data.replace(b"Size\nq\x19K\x02K\x02", b"Size\nq\x19K\x01K\x01")}),
}


@pytest.mark.parametrize("name", TENSORS)
def test_a_sparse_tensor_that_leads_out_blocks(name: str) -> None:
    form, changes = TENSORS[name]
    assert rules_of(report_of(torch_sparse(form), "m.pt")) == set()
    report = report_of(torch_sparse(form, **changes), "m.pt")
    assert report.outcome is Outcome.BLOCK
    assert "index-out-of-range" in rules_of(report), report.verdict


def test_a_sparse_tensor_of_an_older_file_blocks() -> None:
    data = fixture("torch", "legacy-sparse-csr", "model.pth")
    lines = np.arange(5, dtype="<i8").tobytes()
    assert data.count(lines) == 1
    report = report_of(data.replace(lines, np.arange(0, 50, 10, dtype="<i8").tobytes()), "m.pth")
    assert "index-out-of-range" in rules_of(report), report.verdict


def test_a_sparse_tensor_of_another_layout_is_for_review() -> None:
    data = torch_sparse("", pickle=lambda data: data.replace(b"torch.sparse_coo", b"torch.sparse_xyz"))
    assert "index-unfollowed" in rules_of(report_of(data, "m.pt"))


def test_a_sparse_tensor_in_another_byte_order_is_for_review() -> None:
    target = io.BytesIO(torch_sparse(""))
    with zipfile.ZipFile(target) as old, zipfile.ZipFile(swapped := io.BytesIO(), "w") as new:
        for info in old.infolist():
            new.writestr(info.filename, b"big" if info.filename.endswith("byteorder") else old.read(info))
    assert "index-unfollowed" in rules_of(report_of(swapped.getvalue(), "m.pt"))


def test_a_hidden_name_of_a_sparse_tensor_is_for_review() -> None:
    """The name is written with an escape, so that it stands in no byte of the pickle."""
    hidden = b"Vtorch._utils\nV_rebuild\\u005fsparse_tensor\n\x93"
    data = torch_sparse("", pickle=lambda data: data.replace(b"ctorch._utils\n_rebuild_sparse_tensor\n", hidden))
    assert "index-unfollowed" in rules_of(report_of(data, "m.pt"))
