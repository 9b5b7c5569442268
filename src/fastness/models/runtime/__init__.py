"""Loaders, sandboxed model workers, batching."""

from fastness.models.runtime.frames import Tensors
from fastness.models.runtime.host import ModelHost, RunningModel
from fastness.models.runtime.predictor import Predictor, WorkerPredictor
from fastness.models.runtime.settings import RuntimeSettings

__all__ = ["ModelHost", "Predictor", "RunningModel", "RuntimeSettings", "Tensors", "WorkerPredictor"]
