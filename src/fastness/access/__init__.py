"""Who asks, and may they: principals, API keys, policy decisions, approvals."""

from fastness.access.credentials import Authenticated, Credentials, authenticate
from fastness.access.decisions import AccessDecision, Policies, decide

__all__ = ["AccessDecision", "Authenticated", "Credentials", "Policies", "authenticate", "decide"]
