"""numpy, scipy and pandas: arrays, archives of arrays, pickled values; safetensors and msgpack of arrays."""

from __future__ import annotations

import collections
import datetime
import decimal
import pathlib
import pickle
import uuid
import warnings
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from tools.artifacts import Sample, stream_of

LIBRARIES = ("numpy", "scipy", "pandas", "safetensors", "flax", "joblib")


def _files() -> Iterator[Sample]:
    import numpy as np

    rng = np.random.default_rng(0)
    arrays = {
        "float64": rng.normal(size=(8, 3)), "float16-fortran": np.asfortranarray(rng.normal(size=(4, 3)).astype("f2")),
        "complex": np.ones(3, complex), "bool": np.array([True, False]), "big-endian": np.arange(4, dtype=">i4"),
        "text": np.array(["a", "bcd"]), "bytes": np.array([b"a", b"bcd"]), "scalar": np.array(3.5), "empty": np.zeros((0, 4)),
        "structured": np.zeros(3, [("a", "i4"), ("b", "f8", (2,)), ("c", "S5")]), "nested": np.zeros(2, [("p", [("x", "f4"), ("y", "f4")])]),
        "dates": np.array(["2024-01-01", "2024-02-01"], "datetime64[D]"), "differences": np.array([1, 2], "timedelta64[ms]"),
        "six-dimensions": np.zeros((1, 2, 1, 2, 1, 2), "u1"), "long-double": np.ones(2, np.longdouble),
        "titles": np.zeros(2, np.dtype({"names": ["a"], "formats": ["f4"], "offsets": [4], "itemsize": 12})),
    }  # fmt: skip
    for name, array in arrays.items():
        yield f"npy-{name}", {"array.npy": stream_of(np.save, after=(array,))}
    for name, array in {"objects": np.array([1, "a", None], object), "ragged": np.array([[1], [2, 3]], object)}.items():
        yield f"npy-{name}", {"array.npy": stream_of(np.save, after=(array,))}
    yield "npz", {"arrays.npz": stream_of(np.savez, a=arrays["float64"], b=arrays["text"])}
    yield (
        "npz-compressed",
        {"arrays.npz": stream_of(np.savez_compressed, a=arrays["float64"], b=arrays["bool"], c=arrays["structured"])},
    )
    yield "npz-objects", {"arrays.npz": stream_of(np.savez, a=np.array([{"k": 1}], object), b=arrays["bool"])}
    yield "npz-of-arguments", {"arrays.npz": stream_of(np.savez, after=(arrays["bool"], arrays["dates"]))}


def _sparse() -> Iterator[Sample]:
    import numpy as np
    import scipy.sparse as sp

    eye = np.eye(5)
    for form in ("csr", "csc", "coo", "bsr", "dia"):
        matrix = getattr(sp, f"{form}_matrix")(eye)
        yield f"sparse-npz-{form}", {"matrix.npz": stream_of(sp.save_npz, after=(matrix,))}
        yield f"sparse-pickle-{form}", {"matrix.pkl": pickle.dumps(getattr(sp, f"{form}_array")(eye), 4)}
    for form in ("lil", "dok"):
        yield f"sparse-pickle-{form}", {"matrix.pkl": pickle.dumps(getattr(sp, f"{form}_matrix")(eye), 4)}


def _scipy() -> Iterator[Sample]:
    import numpy as np
    from scipy import interpolate, optimize, spatial, stats

    x = np.linspace(0, 1, 8)
    values: dict[str, Any] = {
        "b-spline": interpolate.make_interp_spline(x, x**2), "cubic": interpolate.CubicSpline(x, x**2),
        "pchip": interpolate.PchipInterpolator(x, x), "interp1d": interpolate.interp1d(x, x), "akima": interpolate.Akima1DInterpolator(x, x),
        "regular-grid": interpolate.RegularGridInterpolator((x, x), np.outer(x, x)), "univariate": interpolate.UnivariateSpline(x, x),
        "radial": interpolate.RBFInterpolator(x[:, None], x),
        "norm": stats.norm(0, 1), "uniform": stats.uniform(0, 2), "poisson": stats.poisson(3), "gamma": stats.gamma(2.0),
        "kde": stats.gaussian_kde(x), "multivariate": stats.multivariate_normal([0, 0]), "optimum": optimize.minimize(lambda v: v @ v, [1.0]),
        "kd-tree": spatial.KDTree(np.c_[x, x]), "ckd-tree": spatial.cKDTree(np.c_[x, x]), "rotation": spatial.transform.Rotation.from_euler("z", 1),
        "linregress": stats.linregress(x, x),
    }  # fmt: skip
    for turn, (name, value) in enumerate(values.items()):
        try:
            yield f"scipy-{name}", {"value.pkl": pickle.dumps(value, (2, 4, 5, 3)[turn % 4])}
        except Exception as error:
            warnings.warn(f"{name}: {error}", stacklevel=1)


def _pandas() -> Iterator[Sample]:
    import joblib
    import numpy as np
    import pandas as pd

    table = pd.DataFrame(
        {"i": [1, 2], "f": [0.5, np.nan], "s": ["a", None], "t": pd.to_datetime(["2024-01-01", "2024-01-02"])}
    )
    values: dict[str, Any] = {
        "frame": table, "series": table["f"], "category": table["s"].astype("category"), "multi-index": table.set_index(["i", "s"]),
        "nullable": table.convert_dtypes(), "zoned": pd.Series(pd.date_range("2024-01-01", periods=2, tz="UTC")),
        "period": pd.period_range("2024-01", periods=3, freq="M"), "interval": pd.cut([1, 2, 3], 2), "timestamp": pd.Timestamp("2024-01-01"),
        "timedelta": pd.Timedelta("1D"), "sparse": pd.Series(pd.arrays.SparseArray([0, 0, 1])), "index": pd.Index(["a", "b"], name="k"),
    }  # fmt: skip
    for turn, (name, value) in enumerate(values.items()):
        yield f"pandas-{name}-p{(2, 4, 5)[turn % 3]}", {"table.pkl": pickle.dumps(value, (2, 4, 5)[turn % 3])}
    yield "pandas-frame-joblib", {"table.joblib": stream_of(joblib.dump, table, compress=3)}


def _python() -> Iterator[Sample]:
    import numpy as np

    values: dict[str, object] = {
        "dates": [datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC), datetime.date(2024, 1, 2), datetime.timedelta(1), datetime.time(3)],
        "numbers": [decimal.Decimal("1.5"), Fraction(1, 3), 1 + 2j, 2**200, -0.0, float("inf")],
        "paths": [pathlib.PurePosixPath("a/b"), pathlib.Path("model.pt")],
        "containers": [collections.OrderedDict(a=1), collections.Counter("aab"), collections.defaultdict(list, a=[1]), collections.deque([1], 3)],
        "sets": [{1, 2}, frozenset("ab"), (1,), bytearray(b"ab"), b"ab", range(3), slice(1, 2), ...],
        "ids": [uuid.UUID(int=5)],
        "nested": {"config": {"lr": 0.1, "layers": [64, 32], "name": "mlp", "seed": None}, "history": [{"epoch": 1, "loss": 0.5}] * 3},
        "statistics": {"mean": np.float64(1.5), "count": np.int64(3), "type": np.dtype("f4"), "class": np.float32, "state": np.random.default_rng(0)},
        "vocabulary": {word: at for at, word in enumerate(["the", "quick", "brown", "fox", "import", "os", "eval", "system"])},
        "q-table": collections.defaultdict(float, {(0, 1): 0.5, (1, 0): -1.0}),
    }  # fmt: skip
    for turn, (name, value) in enumerate(values.items()):
        for protocol in (turn % 6, (turn + 3) % 6):
            yield f"python-{name}-p{protocol}", {"data.pkl": pickle.dumps(value, protocol)}


def _other_formats() -> Iterator[Sample]:
    import numpy as np
    import safetensors.numpy as st

    x = np.ones((2, 3), "f4")
    yield "safetensors", {"model.safetensors": st.save({"w": x, "b": np.zeros(3, "f8")})}
    yield "safetensors-metadata", {"model.safetensors": st.save({"w": x}, {"format": "pt", "epoch": "3"})}
    kinds = {kind: np.ones(3, kind) for kind in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?")}
    yield (
        "safetensors-types",
        {"model.safetensors": st.save({name.replace("?", "bool"): array for name, array in kinds.items()})},
    )
    yield "safetensors-empty", {"model.safetensors": st.save({"e": np.zeros((0, 3), "f4"), "scalar": np.array(1.0)})}
    try:
        import flax.serialization as flax
        import jax.numpy as jnp
    except ImportError as error:
        print(f"numpy_arrays: flax left out, {error}")
        return
    params = {"params": {"Dense_0": {"kernel": x, "bias": np.zeros(3, "f4")}}}
    yield "flax-dense", {"flax_model.msgpack": flax.to_bytes(params)}
    yield (
        "flax-nested",
        {"checkpoint.msgpack": flax.to_bytes({**params, "step": 3, "batch_stats": {"mean": x}, "name": "net"})},
    )
    yield "flax-bfloat16", {"flax_model.msgpack": flax.to_bytes({"w": jnp.ones((2, 2), jnp.bfloat16)})}
    yield (
        "flax-lists",
        {"flax_model.msgpack": flax.to_bytes({"layers": [x, x], "pair": (x, 1.5), "complex": np.complex64(1j)})},
    )


def samples() -> Iterator[Sample]:
    """The models of this family."""
    warnings.simplefilter("ignore")
    for make in (_files, _sparse, _scipy, _pandas, _python, _other_formats):
        yield from make()
