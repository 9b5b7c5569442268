"""Tables beside models: Parquet, Arrow and Avro files as pyarrow, Polars, fastparquet and fastavro write them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tools.artifacts import Sample, file_of

LIBRARIES = ("pyarrow", "polars", "fastparquet", "fastavro", "pandas")


def samples() -> Iterator[Sample]:
    """All of them."""
    import pandas as pd

    table = pd.DataFrame(
        {
            "i": range(20),
            "f": [n / 7 for n in range(20)],
            "s": [f"t{n % 3}" for n in range(20)],
            "b": [n % 2 == 0 for n in range(20)],
        }
    )
    yield from _pyarrow(table)
    yield from _others(table)


def _with(write: Callable[..., object], table: object, settings: Mapping[str, object], path: str) -> None:
    write(table, path, **settings)


def _pyarrow(table: object) -> Iterator[Sample]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    made = pa.Table.from_pandas(table)
    features = {b"huggingface": b'{"info": {"features": {"i": {"dtype": "int64", "_type": "Value"}}}}'}
    ways: dict[str, dict[str, object]] = {
        "plain": {},
        "pages": {"write_page_index": True, "data_page_version": "2.0", "compression": "zstd"},
        "groups": {"row_group_size": 7, "use_dictionary": False, "compression": "gzip"},
        "bloom": {"bloom_filter_options": {"i": True}},
    }
    for name, settings in ways.items():
        yield (
            f"parquet-{name}",
            {"a.parquet": file_of(partial(_with, pq.write_table, made, settings), "a.parquet")},
        )
    told = made.replace_schema_metadata({**made.schema.metadata, **features})
    yield "parquet-huggingface", {"a.parquet": file_of(lambda path: pq.write_table(told, path), "a.parquet")}

    def arrow(path: str, kind: Callable[..., Any]) -> None:
        with pa.OSFile(path, "wb") as out, kind(out, told.schema) as writer:
            for batch in told.to_batches(10):
                writer.write_batch(batch)

    yield "arrow-file", {"a.arrow": file_of(lambda path: arrow(path, pa.ipc.new_file), "a.arrow")}
    yield "arrow-stream", {"a.arrow": file_of(lambda path: arrow(path, pa.ipc.new_stream), "a.arrow")}


def _others(table: object) -> Iterator[Sample]:
    import fastavro
    import fastparquet
    import polars as pl

    yield "parquet-polars", {"a.parquet": file_of(lambda path: pl.from_pandas(table).write_parquet(path), "a.parquet")}
    yield "parquet-fastparquet", {"a.parquet": file_of(lambda path: fastparquet.write(path, table), "a.parquet")}
    schema = {"type": "record", "name": "x", "fields": [{"name": "a", "type": "string"}, {"name": "b", "type": "long"}]}

    def avro(codec: str, path: str) -> None:
        with Path(path).open("wb") as out:
            fastavro.writer(out, schema, [{"a": "x", "b": n} for n in range(100)], codec=codec)

    for codec in ("null", "deflate"):
        yield f"avro-{codec}", {"a.avro": file_of(partial(avro, codec), "a.avro")}
