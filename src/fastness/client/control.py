"""Run the control plane: the calls behind every command that changes state."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterable, Iterator
from urllib.parse import quote, urlencode

import msgspec

from fastness.client.calls import Calls, SecondFactor
from fastness.client.directory import DirectoryCalls, ReviewCalls
from fastness.client.federation import ProviderCalls
from fastness.client.oauth import ClientCalls
from fastness.client.possession import CertificateCalls, SigningKeyCalls
from fastness.client.rules import ApprovalCalls, KeyRingCalls, PolicyCalls, QuotaCalls, RestrictionCalls
from fastness.client.transport import Reply, Transport
from fastness.core.errors import Unavailable
from fastness.wire import control, overview, problems


class AccessCalls:
    """Who may do what."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def enrol(self, code: str, public_pem: str) -> control.EnrolmentReply:
        """Redeem a one-time code for a public key of one's own."""
        return self._calls.call(
            "POST", "/enrolments", control.EnrolmentReply, control.EnrolmentRequest(code, public_pem)
        )

    def create_principal(self, request: control.PrincipalRequest) -> control.PrincipalReply:
        """Create a principal; the reply holds its one-time code."""
        return self._calls.call("POST", "/principals", control.PrincipalReply, request)

    def principals(self) -> list[control.PrincipalView]:
        """All principals of the tenant."""
        return self._calls.all("/principals", control.PrincipalView)

    def set_roles(self, principal: str, roles: Iterable[str]) -> None:
        """Give a principal these roles and no others."""
        self._calls.call("PUT", f"{_principal(principal)}/roles", None, control.RolesRequest(tuple(roles)))

    def deactivate(self, principal: str) -> None:
        """End a principal: its keys, codes and approvals count no more."""
        self._calls.call("POST", f"{_principal(principal)}/deactivation", None)

    def reissue_code(self, principal: str) -> control.PrincipalReply:
        """A new one-time code for a principal that has never enrolled."""
        return self._calls.call("POST", f"{_principal(principal)}/codes", control.PrincipalReply)

    def narrow_key(self, key_id: str, actions: Iterable[str]) -> None:
        """Take from a key all actions but these."""
        message = control.ActionsRequest(tuple(actions))
        self._calls.call("PUT", f"/keys/{quote(key_id, safe='')}/actions", None, message)

    def create_key(self, request: control.KeyRequest) -> control.KeyReply:
        """Create an API key; the reply holds its text, once."""
        return self._calls.call("POST", "/keys", control.KeyReply, request)

    def keys(self) -> list[control.KeyView]:
        """All keys of the tenant, without their secrets."""
        return self._calls.all("/keys", control.KeyView)

    def revoke_key(self, key_id: str) -> None:
        """Revoke a key; in force in every worker within a second."""
        self._calls.send("DELETE", f"/keys/{quote(key_id, safe='')}", None).read()

    def routes(self) -> overview.RoutesView:
        """Every route of the control plane and the gateway, and what stands before it."""
        return self._calls.call("GET", "/access/routes", overview.RoutesView)

    def grant_allowance(self, environment: str, request: control.AllowanceRequest) -> control.AllowanceView:
        """Let measures that were not run pass in an environment for a while."""
        return self._calls.call(
            "POST", f"/environments/{quote(environment, safe='')}/allowances", control.AllowanceView, request
        )

    def allowances(self, environment: str) -> list[control.AllowanceView]:
        """Standing allowances of an environment."""
        return self._calls.all(f"/environments/{quote(environment, safe='')}/allowances", control.AllowanceView)


class LoginCalls:
    """Who one is, how people come in, one's sessions and second factors, and step-up by them."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def me(self) -> control.MeView:
        """Who asks, and by what."""
        return self._calls.call("GET", "/me", control.MeView)

    def set_password(self, new: str) -> None:
        """Set one's first password; it takes a second factor."""
        self._calls.call("PUT", "/password", control.PasswordReply, control.PasswordRequest(new))

    def sessions(self, *, everybody: bool = False) -> builtins.list[control.SessionView]:
        """One's open sessions, or those of the whole tenant."""
        return self._calls.all(f"/sessions?everybody={'true' if everybody else 'false'}", control.SessionView)

    def revoke_session(self, session: str) -> None:
        """End a session; the next request with it is refused."""
        self._calls.send("DELETE", f"/sessions/{quote(session, safe='')}", None).read()

    def invite(self, principal: str) -> control.InvitationReply:
        """A one-time code by which a person comes into the console."""
        return self._calls.call("POST", f"{_principal(principal)}/invitations", control.InvitationReply)

    def reset_credentials(self, principal: str) -> control.InvitationReply:
        """Take away somebody's password and second factors; with the code they begin anew."""
        return self._calls.call("POST", f"{_principal(principal)}/credential-reset", control.InvitationReply)

    def factors(self) -> control.FactorsView:
        """All second factors of the caller."""
        return self._calls.call("GET", "/factors", control.FactorsView)

    def start_totp(self, label: str) -> control.AppView:
        """Begin to set up an authenticator app; it takes a second factor where there is one already."""
        return self._calls.call("POST", "/factors/totp", control.AppView, control.LabelRequest(label))

    def confirm_totp(self, factor: str, code: str) -> control.FactorReply:
        """Complete an authenticator app by its first code; with the first factor come recovery codes."""
        path = f"/factors/totp/{quote(factor, safe='')}/confirmation"
        return self._calls.call("POST", path, control.FactorReply, control.CodeRequest(code))

    def new_recovery_codes(self) -> control.FactorReply:
        """Ten fresh recovery codes; all older ones are void."""
        return self._calls.call("POST", "/factors/recovery-codes", control.FactorReply)

    def remove_factor(self, factor: str) -> None:
        """Remove one of one's own factors."""
        self._calls.send("DELETE", f"/factors/{quote(factor, safe='')}", None).read()

    def ways(self) -> control.WaysView:
        """How the caller can give a second factor."""
        return self._calls.call("GET", "/step-ups", control.WaysView)

    def step_up(self, request: control.StepUpRequest) -> control.ElevationReply:
        """Give a second factor."""
        return self._calls.call("POST", "/step-ups", control.ElevationReply, request)


class ModelCalls:
    """From push to rollback."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def push(
        self,
        model: str,
        file_name: str,
        body: Iterable[bytes],
        options: dict[str, str],
        progress: Callable[[control.StepView], None],
    ) -> control.AdmissionReply:
        """Push an artifact and follow its admission.

        Args:
            body: the file's bytes, in pieces.
            options: `range.INPUT` = `LOW:HIGH`, `probabilities` = output name, `min_confidence` = number.
            progress: called with each step as it begins and ends.

        Raises:
            FastnessError: the push could not be decided, or is not allowed. A refusal is a reply.
        """
        query = urlencode({"file": file_name, **options})
        reply = self._calls.send("POST", f"{_model(model)}/versions?{query}", body, "application/octet-stream")
        for line in _push_lines(reply):
            if line.step is not None:
                progress(line.step)
            if line.problem is not None:
                raise problems.decode(int(line.problem.get("status", 500)), msgspec.json.encode(line.problem), {})
            if line.outcome is not None:
                return line.outcome
        raise Unavailable("reply-incomplete", "the push ended without an outcome", "See `fastness models list`.")

    def list(self) -> builtins.list[control.ModelView]:
        """All models."""
        return self._calls.all("/models", control.ModelView)

    def versions(self, model: str) -> builtins.list[control.VersionView]:
        """All versions of a model, newest first."""
        return self._calls.all(_model(model), control.VersionView)

    def version(self, model: str, version: int) -> control.VersionView:
        """One version, whole."""
        return self._calls.call("GET", _version(model, version), control.VersionView)

    def history(self, model: str) -> builtins.list[control.HistoryView]:
        """How the aliases of a model moved, newest first."""
        return self._calls.all(f"{_model(model)}/history", control.HistoryView)

    def verify(self, model: str, version: int, environment: str) -> control.VersionView:
        """Verify everything about a version again: signatures, approvals, policy and every stored byte."""
        return self._calls.call(
            "POST", f"{_version(model, version)}/verifications", control.VersionView, control.DeployRequest(environment)
        )

    def approval_subject(self, model: str, version: int, environment: str) -> control.ApprovalSubject:
        """What an approver signs."""
        return self._calls.call(
            "GET", f"{_version(model, version)}/approvals/{quote(environment, safe='')}", control.ApprovalSubject
        )

    def approve(self, model: str, version: int, request: control.ApprovalRequest) -> control.VersionView:
        """Hand in a signed approval."""
        return self._calls.call("POST", f"{_version(model, version)}/approvals", control.VersionView, request)

    def deploy(self, model: str, version: int, environment: str) -> control.RevisionView:
        """Put a version into an environment."""
        return self._calls.call(
            "POST", f"{_version(model, version)}/deployments", control.RevisionView, control.DeployRequest(environment)
        )

    def rollback(self, model: str, environment: str, reason: str) -> control.RevisionView:
        """Move the environment's alias back to the revision before."""
        return self._calls.call(
            "POST", f"{_model(model)}/rollbacks", control.RevisionView, control.ReasonRequest(reason, environment)
        )

    def quarantine(self, model: str, version: int, reason: str) -> control.VersionView:
        """Take a version out of service for good."""
        return self._calls.call(
            "POST", f"{_version(model, version)}/quarantine", control.VersionView, control.ReasonRequest(reason)
        )


class AuditCalls:
    """What happened, with proof, and how the house stands."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def entries(self, after: int, limit: int, kinds: Iterable[str] = (), last: int = 0) -> list[control.EntryView]:
        """Ledger entries with an index above `after`, oldest first; with `last`, only among the newest so many."""
        query = urlencode([("after", after), ("limit", limit), ("last", last), *(("kind", k) for k in kinds)])
        return self._calls.call("GET", f"/audit/entries?{query}", list[control.EntryView])

    def proof(self, index: int) -> control.ProofView:
        """Proof that an entry is in the log."""
        return self._calls.call("GET", f"/audit/proofs/{index}", control.ProofView)

    def verify(self, since: str = "") -> control.VerificationReply:
        """Have the house verify its whole log and record the outcome.

        Args:
            since: the note of a checkpoint that was kept elsewhere.

        Raises:
            Corrupt: something does not fit; the message names the place.
        """
        return self._calls.call(
            "POST", "/audit/verifications", control.VerificationReply, control.VerificationRequest(since)
        )

    def system(self) -> control.SystemView:
        """How the house stands."""
        return self._calls.call("GET", "/system", control.SystemView)


class ControlClient:
    """The control plane of a house, as one principal.

    Args:
        transport: over which the house is reached.
        key: the principal's API key or access token, or what gives one that is good now; empty only for `access.enrol`.
        second: answers where a second factor is asked for; without one such calls are refused.
        reason: why others are to approve what takes their word; without one they are not asked.

    Attributes:
        login: who one is, one's sessions and second factors, and step-up by them.
        access: principals, keys and allowances.
        models: from push to rollback.
        audit: the ledger and the state of the house.
        policies: the tenant's own rules, and why somebody may or may not.
        approvals, restrictions, quotas: what takes several, what is held back, and how much may be used.
        keyring: the keys that the house itself holds.
        clients: programs that ask for tokens, and devices that ask to be let in.
        providers: by whom people come in besides the house itself, and who of their people is who here.
        directory, reviews: who belongs and what gives them rights, and whether they still need it.
    """

    def __init__(
        self,
        transport: Transport,
        key: str | Callable[[], str] = "",
        second: SecondFactor | None = None,
        reason: str = "",
    ) -> None:
        calls = Calls(transport, key, second, reason)
        self.login = LoginCalls(calls)
        self.access = AccessCalls(calls)
        self.models = ModelCalls(calls)
        self.audit = AuditCalls(calls)
        self.policies = PolicyCalls(calls)
        self.approvals = ApprovalCalls(calls)
        self.restrictions = RestrictionCalls(calls)
        self.quotas = QuotaCalls(calls)
        self.keyring = KeyRingCalls(calls)
        self.directory = DirectoryCalls(calls)
        self.reviews = ReviewCalls(calls)
        self.clients = ClientCalls(calls)
        self.providers = ProviderCalls(calls)
        self.certificates = CertificateCalls(calls)
        self.signing_keys = SigningKeyCalls(calls)
        self._transport = transport

    def close(self) -> None:
        """Give back the connection."""
        self._transport.close()


def _push_lines(reply: Reply) -> Iterator[control.PushLine]:
    decoder = msgspec.json.Decoder(control.PushLine)
    for line in reply.lines():
        try:
            yield decoder.decode(line)
        except msgspec.MsgspecError as error:
            raise Unavailable(
                "reply-malformed", f"the push gave a line that this client does not know: {error}"
            ) from error


def _principal(principal: str) -> str:
    return f"/principals/{quote(principal, safe='')}"


def _model(model: str) -> str:
    return f"/models/{quote(model, safe='')}"


def _version(model: str, version: int) -> str:
    return f"{_model(model)}/versions/{version}"
