"""Calls about who belongs: tenants, groups, roles on single models, keys that follow others, reviews, and who can do what."""

from __future__ import annotations

import builtins
from urllib.parse import quote

from fastness.client.calls import Calls
from fastness.wire import directory


class DirectoryCalls:
    """Who belongs, and what gives them rights."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def tenants(self) -> builtins.list[directory.TenantView]:
        """The tenants that were made, for those who keep the house."""
        return self._calls.all("/tenants", directory.TenantView)

    def create_tenant(self, request: directory.NewTenantRequest) -> directory.TenantReply:
        """Make a tenant; the reply holds its first administrator's one-time code."""
        return self._calls.call("POST", "/tenants", directory.TenantReply, request)

    def deactivate_tenant(self, tenant: str) -> directory.EndedReply:
        """End a tenant and everybody in it."""
        return self._calls.call("POST", f"/tenants/{_part(tenant)}/deactivation", directory.EndedReply)

    def groups(self) -> builtins.list[directory.GroupView]:
        """All groups with their members."""
        return self._calls.all("/groups", directory.GroupView)

    def create_group(self, request: directory.GroupRequest) -> directory.GroupReply:
        """Make a group without members."""
        return self._calls.call("POST", "/groups", directory.GroupReply, request)

    def change_group(self, group: str, request: directory.GroupRequest) -> None:
        """Give a group this name and these roles."""
        self._calls.call("PUT", f"/groups/{_part(group)}", None, request)

    def delete_group(self, group: str) -> None:
        """Remove a group; its members lose its roles."""
        self._calls.call("DELETE", f"/groups/{_part(group)}", None)

    def add_member(self, group: str, principal: str) -> None:
        """Put a principal into a group."""
        self._calls.call("PUT", f"/groups/{_part(group)}/members/{_part(principal)}", None)

    def remove_member(self, group: str, principal: str) -> None:
        """Take a principal out of a group."""
        self._calls.call("DELETE", f"/groups/{_part(group)}/members/{_part(principal)}", None)

    def grants(self) -> builtins.list[directory.GrantView]:
        """All roles that are held on single models."""
        return self._calls.all("/grants", directory.GrantView)

    def grant(self, request: directory.GrantRequest) -> directory.GrantView:
        """Give a principal a role on a single model."""
        return self._calls.call("POST", "/grants", directory.GrantView, request)

    def withdraw(self, principal: str, role: str, model: str) -> None:
        """Take a role on a single model away."""
        self._calls.call("DELETE", f"/grants/{_part(principal)}/{_part(role)}/{_part(model)}", None)

    def rotate_key(self, key_id: str, request: directory.RotationRequest) -> directory.RotationReply:
        """A successor of a key with the same rights; both are good for a while."""
        return self._calls.call("POST", f"/keys/{_part(key_id)}/rotation", directory.RotationReply, request)


class ReviewCalls:
    """Whether what gives rights is still needed."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def list(self) -> builtins.list[directory.ReviewView]:
        """All reviews, oldest first."""
        return self._calls.all("/reviews", directory.ReviewView)

    def start(self, request: directory.ReviewRequest) -> directory.ReviewView:
        """Start a review of everything that gives rights now."""
        return self._calls.call("POST", "/reviews", directory.ReviewView, request)

    def show(self, review: str) -> directory.ReviewView:
        """A review and how far it is."""
        return self._calls.call("GET", f"/reviews/{_part(review)}", directory.ReviewView)

    def items(self, review: str) -> builtins.list[directory.ItemView]:
        """All items of a review, and what was decided about each."""
        return self._calls.all(f"/reviews/{_part(review)}/items", directory.ItemView)

    def decide(self, review: str, number: int, request: directory.DecisionRequest) -> directory.ItemView:
        """Decide about one item."""
        path = f"/reviews/{_part(review)}/items/{number}/decision"
        return self._calls.call("POST", path, directory.ItemView, request)


def _part(text: str) -> str:
    return quote(text, safe="")
