"""Pickles into formats that hold no code, made in the sandbox and shown to agree."""

from fastness.models.convert.convert import Comparison, Converted, Target, convert

__all__ = ["Comparison", "Converted", "Target", "convert"]
