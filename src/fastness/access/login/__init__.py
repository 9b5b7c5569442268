"""How people log in: passwords, second factors, sessions, step-up, and the waits that follow failures.

`accounts` holds passwords and the codes by which people come in, `flow` the steps of a login, `factors` second factors,
`sessions` who is logged in, `stepup` second factors given just now, `codes` what authenticator apps take in.
"""

from fastness.access.login import accounts, codes, factors, flow, sessions, stepup
from fastness.access.login.codes import App
from fastness.access.login.desk import Client, Desk, Outcome
from fastness.access.login.factors import Answer, Method
from fastness.access.login.settings import LoginSettings

__all__ = [
    "Answer",
    "App",
    "Client",
    "Desk",
    "LoginSettings",
    "Method",
    "Outcome",
    "accounts",
    "codes",
    "factors",
    "flow",
    "sessions",
    "stepup",
]
