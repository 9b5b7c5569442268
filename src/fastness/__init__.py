"""Fastness takes an AI model from artifact to production safely, and keeps watching it."""

__version__ = "0.1.0"
