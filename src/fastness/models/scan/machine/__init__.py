"""The symbolic pickle machine: what a stream would import, call and change, found without running any of it."""

from fastness.models.scan.machine.explain import Explanation, explain
from fastness.models.scan.machine.opcodes import OPCODES
from fastness.models.scan.machine.persistent import Storage
from fastness.models.scan.machine.run import run
from fastness.models.scan.machine.standing import catalogue
from fastness.models.scan.machine.tensors import SPARSE_NAME, Find, check_sparse
from fastness.models.scan.machine.trace import Dialect, Event, Sight, Spent, Trace
from fastness.models.scan.machine.values import Standing

__all__ = [
    "OPCODES",
    "SPARSE_NAME",
    "Dialect",
    "Event",
    "Explanation",
    "Find",
    "Sight",
    "Spent",
    "Standing",
    "Storage",
    "Trace",
    "catalogue",
    "check_sparse",
    "explain",
    "run",
]
