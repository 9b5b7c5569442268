"""Behaviour of a model in the sandbox → report card, and the scores that follow from it."""

from fastness.models.assess.behaviour import assess
from fastness.models.assess.card import AREAS, Measure, ReportCard, excused, scores
from fastness.models.assess.settings import AssessSettings

__all__ = ["AREAS", "AssessSettings", "Measure", "ReportCard", "assess", "excused", "scores"]
