"""Trees of scikit-learn within a pickle: their nodes, and who holds them.

The compiled classes copy or keep the nodes as they come, and go by them when they predict: nothing checks that a child is a
node, or that a feature is one of the data's. Whoever holds a tree says how many columns the data have, and that is what
callers' data are held against; so a tree may read no more than its holder says.

Misses: an estimator of the author's own class that calls a tree, which is for review anyway.

Source: scikit-learn 1.9, `tree/_tree.pyx` (`Tree.__setstate__`, `_apply_dense`), `ensemble/_gradient_boosting.pyx`
(`predict_stages`), `ensemble/_hist_gradient_boosting/_predictor.pyx`, `neighbors/_binary_tree.pxi.tp` (`__setstate__`),
`metrics/_dist_metrics.pyx.tp`.
"""

from __future__ import annotations

from collections.abc import Mapping

from fastness.models.scan.bounds import LeadsOut, NotFollowed, categories, columns_of, extent, ranges, within
from fastness.models.scan.machine.contents import Contents, parts
from fastness.models.scan.machine.values import Made, Notes, noted

TREE = "sklearn.tree._tree.Tree"
PREDICTOR = "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"
BIN_MAPPER = "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper"
DUMMY = "sklearn.dummy.DummyClassifier"
DISTANCES = "sklearn.metrics._dist_metrics."
_NODES = ("left_child", "right_child", "feature")
_HIST_NODES = ("left", "right", "feature_idx")
_BIT_WORDS = 8
_DECLARED = ("n_features_in_", "n_features_", "_n_features")
Attributes = Mapping[str, object]


def tree(contents: Contents, made: Made, state: Attributes) -> None:
    """A tree: n_features, n_classes and n_outputs are its arguments, its nodes are in its state."""
    features = contents.whole(parts(made.args, "tuple", 3)[0])
    columns = columns_of(contents.numbers(state.get("nodes")), contents.whole(state.get("node_count")), _NODES)
    if columns > features:
        raise LeadsOut(f"a node of a tree asks for feature {columns - 1}, of {features}")
    noted(made).columns = columns


def grown(contents: Contents, made: Made, state: Attributes) -> None:
    """A decision tree, which hands the data on to its `tree_`."""
    held = state.get("tree_")
    if held is None:
        return
    if not isinstance(held, Made) or held.maker != TREE:
        raise NotFollowed("its tree is not written as one")
    if held.state is None:
        raise LeadsOut("its tree has no nodes")
    _declared(contents, made, state, held.notes.columns)


def boosted(contents: Contents, made: Made, state: Attributes) -> None:
    """Gradient boosting, whose compiled loop goes by the trees of `estimators_` and adds to a column for each class."""
    held = state.get("estimators_")
    if not isinstance(held, Made):
        return
    _declared(contents, made, state, held.notes.columns)
    shape, classes = contents.shape(held), _classes(contents, state)
    if len(shape) != 2 or classes not in {0, shape[1]}:
        raise LeadsOut(f"trees for {shape[1:]} classes, of {classes}")
    start = state.get("init_")
    if shape[1] > 1 and isinstance(start, Made) and start.maker == DUMMY:
        prior = contents.shape(contents.attributes(start.state).get("class_prior_"))
        if prior != (shape[1],):
            raise LeadsOut(f"trees for {shape[1]} classes, beginning with {prior}")


def _classes(contents: Contents, state: Attributes) -> int:
    """How many trees boosting grows at a time; 0 where it does not say."""
    if state.get("n_trees_per_iteration_") is not None:
        return contents.whole(state["n_trees_per_iteration_"])
    classes = contents.whole(state.get("n_classes_", 0))
    return 1 if 0 < classes <= 2 else classes


def predictor(contents: Contents, made: Made, state: Attributes) -> None:
    """A tree of histogram boosting: its nodes, and the rows of bits by which some of them tell categories."""
    nodes = contents.numbers(state.get("nodes"))
    noted(made).columns = columns_of(nodes, nodes.count, _HIST_NODES, "is_leaf")
    if "raw_left_cat_bitsets" not in state and "is_categorical" not in (nodes.dtype.names or ()):
        return  # of versions that knew no categories
    shapes = [contents.shape(state.get(name)) for name in ("raw_left_cat_bitsets", "binned_left_cat_bitsets")]
    if categories(nodes, min(shape[0] if shape else 0 for shape in shapes)):
        if any(len(shape) != 2 or shape[1] < _BIT_WORDS for shape in shapes):
            raise LeadsOut("the bits of categories are too few")
        noted(made).categories = True


def hist_boosted(contents: Contents, made: Made, state: Attributes) -> None:
    """Histogram boosting; of trees that tell categories, the bin mapper knows which columns have some."""
    held = state.get("_predictors")
    notes = getattr(held, "notes", None)
    if not isinstance(notes, Notes):
        return
    _declared(contents, made, state, notes.columns)
    if notes.categories:
        mapper = state.get("_bin_mapper")
        if not isinstance(mapper, Made) or mapper.maker != BIN_MAPPER:
            raise NotFollowed("which columns have categories is not written")
        known = contents.numbers(contents.attributes(mapper.state).get("is_categorical_"))
        if known.count < notes.columns or not any(window.any() for window in known.windows()):
            raise LeadsOut("a node of a tree goes by categories that no column has")


def _declared(contents: Contents, made: Made, state: Attributes, columns: int) -> None:
    """Hold the columns that trees read against the number that whoever holds them says."""
    noted(made).columns = columns
    said = next((state[name] for name in _DECLARED if name in state), None)
    if columns and said is None:
        raise NotFollowed("how many columns the data have is not written")
    if columns and columns > contents.whole(said):
        raise LeadsOut(f"a tree reads column {columns - 1} of data of {contents.whole(said)} columns")


def points(contents: Contents, made: Made, state: object) -> None:
    """A k-d tree or ball tree: points, their order, nodes that hold ranges of it, bounds, sizes, and a distance."""
    given = parts(state, "tuple", 12)
    data = contents.shape(given[0])
    if len(data) != 2:
        raise NotFollowed("the points of a tree are no table")
    order, nodes = contents.numbers(given[1]), contents.numbers(given[2])
    if order.shape != (data[0],):
        raise LeadsOut(f"a tree orders {order.count} points, of {data[0]}")
    within(extent(order), data[0], "a point of a tree")
    if contents.whole(given[6]) != nodes.count or not nodes.count or len(nodes.shape) != 1:
        raise LeadsOut(f"a tree of {nodes.count} nodes says that it has others")
    ranges(nodes, data[0])
    bounds = contents.shape(given[3])
    if bounds != (2 if "KDTree" in made.maker else 1, nodes.count, data[1]):
        raise LeadsOut(f"a tree of {nodes.count} nodes and {data[1]} columns has bounds of {bounds}")
    if len(given) > 12 and given[12] is not None and contents.shape(given[12]) != (data[0],):
        raise LeadsOut("the weights of the points of a tree are others")
    _distance(contents, given[11], data[1])


def _distance(contents: Contents, value: object, columns: int) -> None:
    """A distance whose vector or matrix is as wide as the points are."""
    if not isinstance(value, Made) or not value.maker.startswith(DISTANCES):
        raise NotFollowed("the distance of a tree of points is not written as one")
    name = value.maker.removeprefix(DISTANCES)
    vector, matrix = (contents.shape(one) for one in parts(value.state, "tuple", 3)[1:3])
    fits = {
        "SEuclidean": vector == (columns,),
        "Minkowski": vector in {(0,), (columns,)},
        "Mahalanobis": matrix == (columns, columns),
        "Haversine": columns == 2,
    }
    if not next((fit for start, fit in fits.items() if name.startswith(start)), True):
        raise LeadsOut(f"a distance ({name}) is not as wide as the {columns} columns of the points")
