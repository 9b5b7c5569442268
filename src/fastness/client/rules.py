"""Calls about what holds for whom: policies, approval requests, restrictions, quotas, and why somebody may or may not."""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from urllib.parse import quote, urlencode

from fastness.client.calls import Calls
from fastness.wire import control, rules


class PolicyCalls:
    """The tenant's own rules."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def list(self) -> builtins.list[rules.PolicySetView]:
        """All sets of rules, oldest first."""
        return self._calls.all("/policies", rules.PolicySetView)

    def show(self, number: int) -> rules.PolicySetWhole:
        """A set with its texts."""
        return self._calls.call("GET", f"/policies/{number}", rules.PolicySetWhole)

    def page(self) -> rules.PolicyPage:
        """All rules in force on one page."""
        return self._calls.call("GET", "/policies/page", rules.PolicyPage)

    def draft(self, texts: Mapping[str, str], reason: str) -> rules.DraftView:
        """The document to sign, and what is found in it."""
        return self._calls.call("POST", "/policies/drafts", rules.DraftView, rules.DraftRequest(dict(texts), reason))

    def test(self, texts: Mapping[str, str], cases: str) -> rules.PolicyTestView:
        """Whether rules decide as cases say.

        Args:
            cases: YAML or JSON.
        """
        return self._calls.call(
            "POST", "/policies/tests", rules.PolicyTestView, rules.PolicyTestRequest(dict(texts), cases)
        )

    def propose(self, envelope: str) -> rules.ProposalView:
        """Hand in a signed set, and ask for its approval; it takes a second factor."""
        return self._calls.call("POST", "/policies", rules.ProposalView, rules.SignedRequest(envelope))

    def activate(self, number: int, request: str) -> rules.PolicySetView:
        """Put an approved set into force; it takes a second factor."""
        return self._calls.call(
            "POST", f"/policies/{number}/activation", rules.PolicySetView, rules.ActivationRequest(request)
        )

    def explain(  # the question, and what the house cannot know of it
        self, principal: str, action: str, resource: str, author: str = "", owner: str = "", *, stepped_up: bool = False
    ) -> rules.ExplanationView:
        """Which rules decide whether a principal may do something, and what would have to change.

        Args:
            stepped_up: as if a second factor had just been given.
        """
        query = {"principal": principal, "action": action, "resource": resource, "author": author, "owner": owner}
        asked = urlencode({**query, "stepped_up": str(stepped_up).lower()})
        return self._calls.call("GET", f"/access/explanations?{asked}", rules.ExplanationView)

    def conflicts(self) -> builtins.list[control.FindingView]:
        """Who holds roles that do not go together."""
        return self._calls.all("/access/conflicts", control.FindingView)

    def rights(self) -> builtins.list[rules.RightsView]:
        """Who can do what."""
        return self._calls.all("/access/rights", rules.RightsView)

    def findings(self) -> builtins.list[control.FindingView]:
        """What stands out: dormant, unused, too long-lived, ending, or in one hand too many."""
        return self._calls.all("/access/findings", control.FindingView)


class ApprovalCalls:
    """What takes the word of several."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def list(self, status: str = "") -> builtins.list[rules.ApprovalRequestView]:
        """All requests, or those of one status."""
        query = f"?{urlencode({'status': status})}" if status else ""
        return self._calls.all(f"/approvals{query}", rules.ApprovalRequestView)

    def ask(self, wish: rules.ApprovalWish) -> rules.ApprovalRequestView:
        """Ask others to approve an operation that was refused with `approval-required`; repeat it when they have."""
        return self._calls.call("POST", "/approvals", rules.ApprovalRequestView, wish)

    def waiting(self) -> builtins.list[rules.ApprovalRequestView]:
        """The requests that wait for the caller."""
        return self._calls.all("/approvals/waiting", rules.ApprovalRequestView)

    def show(self, request: str) -> rules.ApprovalRequestWhole:
        """A request, and what an approver signs."""
        return self._calls.call("GET", f"/approvals/{quote(request, safe='')}", rules.ApprovalRequestWhole)

    def answer(self, request: str, envelope: str) -> rules.ApprovalRequestWhole:
        """Hand in a signed yes or no."""
        path = f"/approvals/{quote(request, safe='')}/answers"
        return self._calls.call("POST", path, rules.ApprovalRequestWhole, rules.SignedRequest(envelope))

    def withdraw(self, request: str) -> None:
        """Take back one's own request."""
        self._calls.send("POST", f"/approvals/{quote(request, safe='')}/withdrawal", None).read()


class KeyRingCalls:
    """The keys that the house itself holds."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def rotate(self, key: str) -> rules.KeyRotationView:
        """Another version of `data` or `tokens`; it takes a second factor and the approval of others."""
        return self._calls.call("POST", f"/keyring/{quote(key, safe='')}/rotation", rules.KeyRotationView)


class RestrictionCalls:
    """Blocks, throttles and forced second factors."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def impose(self, request: rules.RestrictionRequest) -> rules.RestrictionView:
        """Restrict somebody or something for a while."""
        return self._calls.call("POST", "/restrictions", rules.RestrictionView, request)

    def list(self, *, ended: bool = False) -> builtins.list[rules.RestrictionView]:
        """The restrictions that count now; with `ended`, all there ever were."""
        return self._calls.all("/restrictions/history" if ended else "/restrictions", rules.RestrictionView)

    def show(self, restriction: str) -> rules.RestrictionView:
        """One restriction."""
        return self._calls.call("GET", f"/restrictions/{quote(restriction, safe='')}", rules.RestrictionView)

    def lift(self, restriction: str, reason: str) -> rules.RestrictionView:
        """End a restriction before its time."""
        path = f"/restrictions/{quote(restriction, safe='')}/lift"
        return self._calls.call("POST", path, rules.RestrictionView, rules.LiftRequest(reason))


class QuotaCalls:
    """Who may use how much. A quota is named by `kind`, `subject`, `unit` and `window`."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def list(self) -> builtins.list[rules.QuotaView]:
        """All quotas of the tenant."""
        return self._calls.all("/quotas", rules.QuotaView)

    def set(self, kind: str, subject: str, unit: str, window: str, request: rules.QuotaRequest) -> rules.QuotaView:
        """Set a quota, in place of the one there is."""
        return self._calls.call("PUT", _place(kind, subject, unit, window), rules.QuotaView, request)

    def remove(self, kind: str, subject: str, unit: str, window: str) -> None:
        """Have a quota no more."""
        self._calls.send("DELETE", _place(kind, subject, unit, window), None).read()

    def uses(self) -> builtins.list[rules.QuotaUseView]:
        """What was used of each quota in the present windows."""
        return self._calls.all("/quotas/uses", rules.QuotaUseView)


def _place(*parts: str) -> str:
    return "/".join(("/quotas", *(quote(part, safe="") for part in parts)))
