"""Checkpoints as Flax saves them: states of modules and optimizers, element types of every width, plain values."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from tools.artifacts import Sample

FOLDER = "flax"
LIBRARIES = ("flax", "jax", "optax", "msgpack")

os.environ.setdefault("JAX_PLATFORMS", "cpu")


def samples() -> Iterator[Sample]:
    """Each state under its own name."""
    from flax import serialization

    for name, state in _states():
        yield name, {f"{name}.msgpack": serialization.to_bytes(state)}
    for name, state in _plain():
        yield name, {f"{name}.msgpack": serialization.msgpack_serialize(state)}


def _states() -> Iterator[tuple[str, Any]]:
    import jax
    import jax.numpy as jnp
    import optax
    from flax import linen
    from flax.training import train_state

    key = jax.random.PRNGKey(0)
    dense = linen.Sequential([linen.Dense(3), linen.relu, linen.Dense(1)])
    variables = dense.init(key, jnp.ones((1, 4)))
    yield "dense", variables
    image = linen.Sequential([linen.Conv(2, (3, 3)), linen.BatchNorm(use_running_average=True)])
    yield "convolution", image.init(key, jnp.ones((1, 8, 8, 1)))
    yield "attention", linen.MultiHeadDotProductAttention(2).init(key, jnp.ones((1, 3, 4)), jnp.ones((1, 3, 4)))
    for name, optimizer in (("adam", optax.adam(0.1)), ("momentum", optax.sgd(0.1, 0.9))):
        state = train_state.TrainState.create(apply_fn=dense.apply, params=variables["params"], tx=optimizer)
        yield f"state-{name}", state


def _plain() -> Iterator[tuple[str, Any]]:
    import jax.numpy as jnp
    import numpy as np

    types = [
        "bool",
        "int8",
        "uint8",
        "int16",
        "uint16",
        "int32",
        "uint32",
        "int64",
        "uint64",
        "float16",
        "float32",
        "float64",
        "complex64",
    ]
    yield "types", {one: np.zeros((2, 3), one) for one in types}
    yield "bfloat16", {"w": jnp.zeros((4,), jnp.bfloat16), "f8": jnp.zeros((4,), jnp.float8_e4m3fn)}
    yield (
        "values",
        {
            "none": None,
            "yes": True,
            "n": -5,
            "big": 1 << 40,
            "x": 0.5,
            "c": 1 + 2j,
            "s": np.float32(3),
            "list": [1, "a", b"b"],
        },
    )
    yield "empty", {"w": np.zeros((0, 3), "float32"), "scalar": np.float64(1), "long": np.arange(300.0)}
