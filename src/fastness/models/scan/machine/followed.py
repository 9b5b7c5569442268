"""Objects whose compiled code goes by numbers of their state: which those are, and what becomes of what is found.

A number that leads out of its array blocks. Where the numbers do not stand in the file in a form that is known, that is
told, for they may lead anywhere.

Misses: classes that only people's own code makes; `docs/scanning.md` says which of the reviewed ones are not followed.

Source: besides those of `trees` and `matrices`: numpy 2.4, `random/_mt19937.pyx`, `random/_philox.pyx` (setters of `state`);
scikit-learn 1.9, `svm/src/libsvm/libsvm_helper.c` (`set_model`), `metrics/_pairwise_distances_reduction/_argkmin_classmode.pyx.tp`.
"""

from __future__ import annotations

from collections.abc import Callable

from fastness.models.scan.bounds import Extent, LeadsOut, NotFollowed, extent, within
from fastness.models.scan.machine import matrices, trees
from fastness.models.scan.machine.contents import ARRAYS, Contents, parts
from fastness.models.scan.machine.trees import DISTANCES, Attributes
from fastness.models.scan.machine.values import Items, Made, noted

_MERSENNE_WORDS, _PHILOX_WORDS = 624, 4
_DEPTH = 3
Check = Callable[[Contents, Made, Attributes], None]


def _random(contents: Contents, made: Made, state: object) -> None:
    """A generator of random numbers: how much of what it has drawn ahead is used up."""
    del made
    _drawn(contents, state, _DEPTH)


def _drawn(contents: Contents, state: object, depth: int) -> None:
    if not isinstance(state, Items) or depth < 0:
        return
    if state.kind == "tuple":
        given = parts(state, "tuple")
        if len(given) >= 3 and given[0] == "MT19937":
            _position(contents, given[2], _MERSENNE_WORDS)
        for one in given:
            _drawn(contents, one, depth - 1)
    elif state.kind == "dict":
        items = parts(state, "dict")
        for key, value in zip(items[::2], items[1::2], strict=False):
            if key in {"pos", "buffer_pos"}:
                _position(contents, value, _MERSENNE_WORDS if key == "pos" else _PHILOX_WORDS)
            _drawn(contents, value, depth - 1)


def _position(contents: Contents, value: object, most: int) -> None:
    at = contents.whole(value)
    if not 0 <= at <= most:
        raise LeadsOut(f"a generator of random numbers has used {at} of {most} words")


def _vectors(contents: Contents, made: Made, state: Attributes) -> None:
    """A support vector machine: libsvm takes all lengths from those of two arrays."""
    if "support_" not in state or "support_vectors_" not in state:
        return
    support = contents.numbers(state["support_"])
    counts = contents.numbers(state.get("_n_support", state.get("n_support_")))
    given = state.get("kernel") == "precomputed"  # callers give products with the samples, which are no part of it
    vectors, classes = support.count if given else contents.rows(state["support_vectors_"]), counts.count
    pairs = classes * (classes - 1) // 2
    if support.count != vectors:
        raise LeadsOut(f"{support.count} support vectors, of {vectors}")
    if "SVC" in made.maker:
        found, total = extent(counts), sum(int(window.sum()) for window in counts.windows())
        if found.low < 0 or total != vectors:
            raise LeadsOut(f"classes of {total} support vectors, of {vectors}")
    _beside(contents, state, ("dual_coef_", "_dual_coef_"), {max(1, classes - 1) * vectors})
    _beside(contents, state, ("intercept_", "_intercept_"), {pairs})
    _beside(contents, state, ("_probA", "_probB", "probA_", "probB_"), {0, pairs})
    if "shape_fit_" in state and support.count:
        within(extent(support), contents.wholes(state["shape_fit_"])[0], "a support vector")


def _beside(contents: Contents, state: Attributes, names: tuple[str, ...], counts: set[int]) -> None:
    """Return if the arrays of these names, those that there are, hold one of these counts of numbers."""
    for name in names:
        if name in state and (count := contents.held(state[name])) not in counts:
            raise LeadsOut(f"{name} holds {count} numbers, not {max(counts)}")


def _neighbours(contents: Contents, made: Made, state: Attributes) -> None:
    """A classifier by neighbours: the classes of its samples are counted by compiled code."""
    del made
    target, classes, samples = state.get("_y"), state.get("classes_"), state.get("n_samples_fit_")
    if not isinstance(target, Made) or not isinstance(classes, Made):
        return
    known = contents.numbers(target)
    if len(known.shape) == 1 and known.dtype.kind in "iu":
        within(extent(known), contents.shape(classes)[0], "the class of a sample")
        if samples is not None and contents.whole(samples) != known.count:
            raise LeadsOut(f"classes of {known.count} samples, of {contents.whole(samples)}")


def _vocabulary(contents: Contents, made: Made, state: Attributes) -> None:
    """A vectoriser: its numbers of words become the columns of a matrix that nothing checks."""
    del contents, made
    words = state.get("vocabulary_")
    if words is None:
        return
    if not isinstance(words, Items) or words.kind != "dict":
        raise NotFollowed("its vocabulary is not written as a dict")
    count, low, high = words.notes.tally
    if 2 * count != words.count:
        raise NotFollowed("its vocabulary holds other values than numbers, or stands before its class")
    if count:
        within(Extent(low, high), count, "the column of a word")
        noted(words).followed = True


def _curve(contents: Contents, made: Made, state: Attributes) -> None:
    """A spline: knots, and coefficients for each stretch between them."""
    del made
    degree = contents.whole(state.get("k"))
    knots, values = (contents.shape(state.get(f"_{name}", state.get(name))) for name in ("t", "c"))
    if degree < 0 or len(knots) != 1 or not values or not 0 < knots[0] - degree - 1 <= values[0]:
        raise LeadsOut(f"a spline of degree {degree} has {values} coefficients for {knots} knots")


def _kept(contents: Contents, made: Made, state: object) -> None:
    """Nothing by itself: others look at its state."""
    del contents, made, state


def _of(check: Callable[[Contents, Made, Attributes], None]) -> Callable[[Contents, Made, object], None]:
    return lambda contents, made, state: check(contents, made, contents.attributes(state))


def _paths(module: str, *names: str) -> list[str]:
    return [f"{module}.{name}" for name in names]


_SPARSE = {
    "csr": matrices.by_rows, "csc": matrices.by_columns, "bsr": matrices.in_blocks, "coo": matrices.by_places,
    "dia": matrices.by_diagonals, "lil": matrices.by_lists,
}  # fmt: skip
_GROWN = [
    *_paths("sklearn.tree._classes", "BaseDecisionTree", "DecisionTreeClassifier", "DecisionTreeRegressor", "ExtraTreeClassifier",
            "ExtraTreeRegressor"),
    *_paths("sksurv.tree.tree", "SurvivalTree", "ExtraSurvivalTree"),
]  # fmt: skip
_BOOSTED = [
    *_paths("sklearn.ensemble._gb", "BaseGradientBoosting", "GradientBoostingClassifier", "GradientBoostingRegressor"),
    *_paths("sksurv.ensemble.boosting", "GradientBoostingSurvivalAnalysis"),
]
_HIST = "sklearn.ensemble._hist_gradient_boosting.gradient_boosting"
_NAMES = ("KDTree", "KDTree32", "KDTree64"), ("BallTree", "BallTree32", "BallTree64")
_RANDOM = _paths("numpy.random._pickle", "__bit_generator_ctor", "__generator_ctor", "__randomstate_ctor")

_VECTORISERS = [
    *_paths("sklearn.feature_extraction.text", "CountVectorizer", "TfidfVectorizer"),
    *_paths("sklearn.feature_extraction._dict_vectorizer", "DictVectorizer"),
]

FOLLOWED: dict[str, Callable[[Contents, Made, object], None]] = {
    trees.TREE: _of(trees.tree),
    trees.PREDICTOR: _of(trees.predictor),
    trees.BIN_MAPPER: _kept,
    trees.DUMMY: _kept,
    **dict.fromkeys(_GROWN, _of(trees.grown)),
    **dict.fromkeys(_BOOSTED, _of(trees.boosted)),
    **dict.fromkeys(_paths(_HIST, "BaseHistGradientBoosting", "HistGradientBoostingClassifier", "HistGradientBoostingRegressor"),
                    _of(trees.hist_boosted)),
    **dict.fromkeys(_paths("sklearn.neighbors._kd_tree", *_NAMES[0]), trees.points),
    **dict.fromkeys(_paths("sklearn.neighbors._ball_tree", *_NAMES[1]), trees.points),
    **dict.fromkeys(_paths("sklearn.neighbors._classification", "KNeighborsClassifier", "RadiusNeighborsClassifier"), _of(_neighbours)),
    **dict.fromkeys(_paths("sklearn.svm._base", "BaseLibSVM", "BaseSVC"), _of(_vectors)),
    **dict.fromkeys(_paths("sklearn.svm._classes", "SVC", "SVR", "NuSVC", "NuSVR", "OneClassSVM"), _of(_vectors)),
    **{f"scipy.sparse._{form}.{form}_{kind}": _of(check) for form, check in _SPARSE.items() for kind in ("matrix", "array")},
    **{f"scipy.sparse.{form}.{form}_matrix": _of(check) for form, check in _SPARSE.items()},
    **dict.fromkeys(_RANDOM, _random),
    **dict.fromkeys(_VECTORISERS, _of(_vocabulary)),
    "scipy.interpolate._bsplines.BSpline": _of(_curve),
}  # fmt: skip
"""By the maker of an object, what its state is held against."""
COUNTED = frozenset(
    {*_VECTORISERS, "scipy.sparse._lil.lil_matrix", "scipy.sparse._lil.lil_array", "scipy.sparse.lil.lil_matrix"}
)


def is_followed(maker: str) -> bool:
    """Whether the state of what `maker` made is looked at, now or by those that hold it."""
    return maker in FOLLOWED or maker in ARRAYS or maker.startswith(DISTANCES)


def problem_of(contents: Contents, made: Made, state: object) -> tuple[str, bool]:
    """What is wrong with a state, and whether that is known rather than not to be followed; empty where nothing is."""
    check = FOLLOWED.get(made.maker, _kept)
    try:
        check(contents, made, state)
    except LeadsOut as error:
        return str(error), True
    except NotFollowed as error:
        return str(error), False
    return "", False
