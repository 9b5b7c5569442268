"""Seals of rows: who can write the database and has no key ring gives no rights, and what they put back or remove is told."""

from __future__ import annotations
