"""The rows of tenants, groups, roles on single models, keys that follow others, reviews, and of who can do what."""

from __future__ import annotations

from fastness.client import ControlClient
from fastness.core.clock import system_entropy
from fastness.core.events import EventKind
from fastness.foundation.crypto import SoftwareSigner
from fastness.wire import control, directory
from tests.unit.interfaces.api.rows import Route, encoded
from tests.unit.interfaces.api.town import Town, refused

NOBODY = "01900000-0000-7000-8000-000000000000"


def someone(town: Town, name: str, roles: tuple[str, ...] = (), kind: str = "service") -> str:
    """A principal with a key in the town by the same name."""
    reply = town.client("admin").access.create_principal(control.PrincipalRequest(name, roles, kind))
    pem = SoftwareSigner.create(system_entropy).public_pem.decode()
    town.keys[name] = ControlClient(town.carrier).access.enrol(reply.code, pem).api_key
    return reply.principal


def _tenants(town: Town) -> None:
    town.client("admin").directory.create_tenant(directory.NewTenantRequest("shown", "Shown Ltd."))
    (view,) = [t for t in town.client("auditor").directory.tenants() if t.tenant == "shown"]
    assert (view.title, view.created_by, view.active) == ("Shown Ltd.", "user:admin", True)


def _tenant(town: Town) -> None:
    made = town.client("admin").directory.create_tenant(directory.NewTenantRequest("north", "North Ltd.", "nora"))
    assert (made.tenant, made.principal) == ("north", "user:nora")
    pem = SoftwareSigner.create(system_entropy).public_pem.decode()
    town.keys["nora"] = ControlClient(town.carrier).access.enrol(made.code, pem).api_key
    nora = town.client("nora")
    assert [p.principal for p in nora.access.principals()] == ["user:nora"]  # nobody of another tenant
    again = directory.NewTenantRequest("south", "South Ltd.")
    assert refused(lambda: nora.directory.create_tenant(again)).code == "tenants-of-the-house"
    assert refused(nora.directory.tenants).code == "tenant-house"
    same = directory.NewTenantRequest("north", "North Ltd.")
    assert refused(lambda: town.client("admin").directory.create_tenant(same)).code == "tenant-exists"


def _ended(town: Town) -> None:
    made = town.client("admin").directory.create_tenant(directory.NewTenantRequest("ending", "Ending Ltd."))
    pem = SoftwareSigner.create(system_entropy).public_pem.decode()
    town.keys["last"] = ControlClient(town.carrier).access.enrol(made.code, pem).api_key
    assert town.client("last").access.principals()
    assert town.client("admin").directory.deactivate_tenant("ending").ended == 1
    assert refused(town.client("last").access.principals).code == "key-unknown"
    assert refused(lambda: town.client("admin").directory.deactivate_tenant("default")).code == "tenant-house"
    assert refused(lambda: town.client("admin").directory.deactivate_tenant("none")).code == "tenant-unknown"


def _group(town: Town, name: str, *roles: str) -> str:
    return town.client("admin").directory.create_group(directory.GroupRequest(name, roles)).group


def look(town: Town, path: str, who: str = "auditor") -> dict[str, object]:
    """One thing, as JSON."""
    answer = town.ask(who, "GET", f"/api/v1{path}")
    assert answer.status == 200, answer
    return answer.problem


def missing(town: Town, path: str) -> str:
    answer = town.ask("auditor", "GET", f"/api/v1{path}")
    assert answer.status == 404
    return answer.code


def _one_tenant(town: Town) -> None:
    town.client("admin").directory.create_tenant(directory.NewTenantRequest("alone", "Alone Ltd."))
    assert look(town, "/tenants/alone")["title"] == "Alone Ltd."
    assert missing(town, "/tenants/none") == "tenant-unknown"


def _one_group(town: Town) -> None:
    group = _group(town, "Alone", "viewer")
    assert (look(town, f"/groups/{group}")["name"], missing(town, G)) == ("Alone", "group-unknown")


def _one_grant(town: Town) -> None:
    town.client("admin").directory.grant(directory.GrantRequest("user:developer", "publisher", "alone"))
    assert look(town, "/grants/user:developer/publisher/alone")["model"] == "alone"
    assert missing(town, "/grants/user:developer/publisher/other") == "grant-unknown"


def _one_principal(town: Town) -> None:
    assert look(town, "/principals/user:viewer")["roles"] == ["viewer"]
    assert missing(town, "/principals/user:none") == "principal-unknown"


def _one_key(town: Town) -> None:
    known = town.all_keys()[0]
    assert look(town, f"/keys/{known.key_id}")["principal"] == known.principal
    assert missing(town, "/keys/00000000") == "key-unknown"


def _groups(town: Town) -> None:
    group = _group(town, "Shown", "viewer")
    (view,) = [one for one in town.client("auditor").directory.groups() if one.group == group]
    assert (view.name, view.source, view.roles, view.members) == ("Shown", "house", ("viewer",), ())


def _group_made(town: Town) -> None:
    _group(town, "Made")
    admin = town.client("admin").directory
    assert refused(lambda: admin.create_group(directory.GroupRequest("made"))).code == "group-exists"
    assert refused(lambda: admin.create_group(directory.GroupRequest("x", ("king",)))).code == "role-unknown"


def _group_changed(town: Town) -> None:
    admin = town.client("admin").directory
    group, member = _group(town, "Readers"), someone(town, "reader")
    admin.add_member(group, member)
    assert refused(town.client("reader").models.list).code == "not-permitted"
    admin.change_group(group, directory.GroupRequest("Readers all", ("viewer",)))
    assert town.client("reader").models.list()
    assert refused(lambda: admin.change_group(NOBODY, directory.GroupRequest("x"))).code == "group-unknown"


def _group_of_its_own(town: Town) -> None:
    """Who belongs to a group does not give it more."""
    admin = town.client("admin").directory
    group, member = _group(town, "Chiefs", "administrator"), someone(town, "chief")
    admin.add_member(group, member)
    more = directory.GroupRequest("Chiefs", ("administrator", "auditor", "security-officer"))
    assert refused(lambda: town.client("chief").directory.change_group(group, more)).code == "own-roles"
    assert refused(lambda: town.client("chief").directory.delete_group(group)).code == "own-roles"


def _group_deleted(town: Town) -> None:
    _group_of_its_own(town)
    admin = town.client("admin").directory
    group, member = _group(town, "Gone", "viewer"), someone(town, "orphan")
    admin.add_member(group, member)
    assert town.client("orphan").models.list()
    admin.delete_group(group)
    assert refused(town.client("orphan").models.list).code == "not-permitted"
    assert group not in [one.group for one in admin.groups()]


def _joined(town: Town) -> None:
    admin = town.client("admin").directory
    group, member = _group(town, "Joined", "viewer"), someone(town, "joiner")
    admin.add_member(group, member)
    assert town.client("joiner").models.list()
    assert refused(lambda: admin.add_member(group, member)).code == "group-member"
    assert refused(lambda: admin.add_member(group, "user:admin")).code == "own-roles"
    event = town.events(EventKind.GROUP_CHANGED)[-1]
    assert (event.principal, event.reason, event.details) == ("user:admin", "joined", {"principal": member})


def _left(town: Town) -> None:
    admin = town.client("admin").directory
    group, member = _group(town, "Left", "viewer"), someone(town, "mover")
    admin.add_member(group, member)
    admin.remove_member(group, member)
    assert refused(town.client("mover").models.list).code == "not-permitted"
    assert refused(lambda: admin.remove_member(group, member)).code == "group-member"


def _grants(town: Town) -> None:
    who = someone(town, "granted")
    town.client("admin").directory.grant(directory.GrantRequest(who, "developer", "served"))
    assert directory.GrantView(who, "developer", "served") in town.client("auditor").directory.grants()


def _grant(town: Town) -> None:
    who = someone(town, "specialist")
    admin = town.client("admin").directory
    admin.grant(directory.GrantRequest(who, "viewer", "served"))
    assert town.client("specialist").models.versions("served")
    assert refused(lambda: town.client("specialist").models.versions("other")).code == "not-permitted"
    assert refused(lambda: admin.grant(directory.GrantRequest(who, "auditor", "served"))).code == "grant-role"
    assert refused(lambda: admin.grant(directory.GrantRequest(who, "viewer", "served"))).code == "grant-exists"
    assert refused(lambda: admin.grant(directory.GrantRequest("user:admin", "viewer", "x"))).code == "own-roles"


def _withdrawn(town: Town) -> None:
    who = someone(town, "former")
    admin = town.client("admin").directory
    admin.grant(directory.GrantRequest(who, "viewer", "served"))
    admin.withdraw(who, "viewer", "served")
    assert refused(lambda: town.client("former").models.versions("served")).code == "not-permitted"
    assert refused(lambda: admin.withdraw(who, "viewer", "served")).code == "grant-unknown"


def _rotated(town: Town) -> None:
    viewer = town.client("viewer")
    request = control.KeyRequest("user:viewer", "turning", actions=("model.read", "key.create"), models=("served",))
    old = viewer.access.create_key(request)
    town.keys["turning"] = old.api_key
    new = viewer.directory.rotate_key(old.key_id, directory.RotationRequest(1))
    assert new.replaces == old.key_id
    views = {view.key_id: view for view in town.all_keys()}
    assert views[old.key_id].successor == new.key_id
    assert views[new.key_id].actions == ("key.create", "model.read")
    assert views[new.key_id].models == ("served",)
    town.keys["turned"] = new.api_key
    for name in ("turning", "turned"):  # both, for an hour
        assert town.client(name).models.versions("served")
    again = refused(lambda: viewer.directory.rotate_key(old.key_id, directory.RotationRequest()))
    assert again.code == "key-not-rotated"
    at_once = viewer.directory.rotate_key(new.key_id, directory.RotationRequest(0))
    assert refused(lambda: town.client("turned").models.versions("served")).code == "key-unknown"
    viewer.access.revoke_key(at_once.key_id)


def _review(town: Town, name: str) -> directory.ReviewView:
    request = directory.ReviewRequest(name, ("user:admin", "user:security-officer"), 7)
    return town.client("security-officer").reviews.start(request)


def _reviews(town: Town) -> None:
    view = _review(town, "listed")
    assert view in town.client("auditor").reviews.list()


def _review_started(town: Town) -> None:
    view = _review(town, "started")
    assert (view.created_by, view.decided, view.closed_at) == ("user:security-officer", 0, "")
    assert 0 < view.waiting["user:admin"] < view.total
    event = town.events(EventKind.REVIEW_STARTED)[-1]
    assert (event.principal, event.details["items"]) == ("user:security-officer", view.total)
    officer = town.client("security-officer").reviews
    nobody = directory.ReviewRequest("x", ("service:robot",))
    assert refused(lambda: officer.start(nobody)).code == "review-reviewers"
    assert refused(lambda: officer.start(directory.ReviewRequest("x", ("user:admin",)))).code == "review-reviewers"


def _review_shown(town: Town) -> None:
    view = _review(town, "shown")
    assert town.client("auditor").reviews.show(view.review) == view
    assert refused(lambda: town.client("auditor").reviews.show(NOBODY)).code == "review-unknown"


def _review_items(town: Town) -> None:
    view = _review(town, "items")
    items = town.client("auditor").reviews.items(view.review)
    assert len(items) == view.total
    (role,) = [item for item in items if (item.principal, item.kind) == ("user:viewer", "role")]
    assert (role.subject, role.decision) == ("viewer", "")


def _decided(town: Town) -> None:
    who = someone(town, "reviewed", ("viewer",))
    view = _review(town, "decided")
    officer = town.client("security-officer").reviews
    items = {(item.principal, item.kind): item.number for item in officer.items(view.review)}
    number, own = items[who, "role"], items["user:security-officer", "role"]
    assert town.client("reviewed").models.list()
    kept = officer.decide(view.review, number, directory.DecisionRequest("keep", "still needed"))
    assert (kept.decision, kept.decided_by) == ("keep", "user:security-officer")
    gone = officer.decide(view.review, number, directory.DecisionRequest("revoke", "no more"))
    assert gone.applied_at
    assert refused(town.client("reviewed").models.list).code == "not-permitted"
    mine = directory.DecisionRequest("keep", "mine")
    assert refused(lambda: officer.decide(view.review, own, mine)).code == "own-review"
    odd = directory.DecisionRequest("maybe", "why not")
    assert refused(lambda: officer.decide(view.review, number, odd)).code == "review-choice"
    assert officer.show(view.review).by_choice == {"revoke": 1}


GROUP = encoded(directory.GroupRequest("Intruders", ("administrator",)))
G = f"/groups/{NOBODY}"
REVIEW = encoded(directory.ReviewRequest("x", ("user:admin",)))
DECISION = encoded(directory.DecisionRequest("keep", "x"))
TENANT = encoded(directory.NewTenantRequest("mine", "Mine"))
GRANT = encoded(directory.GrantRequest("user:viewer", "operator", "served"))
ROTATION = encoded(directory.RotationRequest())

DIRECTORY_ROUTES = {
    "GET /tenants/{tenant}": Route("/tenants/north", None, "operator", "access.read", "tenant:north", _one_tenant),
    "GET /groups/{group}": Route(G, None, "operator", "access.read", f"group:{NOBODY}", _one_group),
    "GET /grants/{principal}/{role}/{model}": Route(
        "/grants/user:viewer/operator/served", None, "operator", "access.read", "principal:user:viewer", _one_grant
    ),
    "GET /principals/{principal}": Route(
        "/principals/user:viewer", None, "operator", "access.read", "principal:user:viewer", _one_principal
    ),
    "GET /keys/{key_id}": Route("/keys/00000000", None, "viewer", "access.read", "key:00000000", _one_key),
    "GET /tenants": Route("/tenants", None, "operator", "access.read", "access:tenants", _tenants),
    "POST /tenants": Route("/tenants", TENANT, "operator", "tenant.create", "tenant:mine", _tenant),
    "POST /tenants/{tenant}/deactivation": Route(
        "/tenants/north/deactivation", None, "operator", "tenant.create", "tenant:north", _ended
    ),
    "GET /groups": Route("/groups", None, "operator", "access.read", "access:groups", _groups),
    "POST /groups": Route("/groups", GROUP, "operator", "group.change", "access:groups", _group_made),
    "PUT /groups/{group}": Route(G, GROUP, "operator", "group.change", f"group:{NOBODY}", _group_changed),
    "DELETE /groups/{group}": Route(G, None, "operator", "group.change", f"group:{NOBODY}", _group_deleted),
    "PUT /groups/{group}/members/{principal}": Route(
        f"{G}/members/user:viewer", None, "operator", "group.change", f"group:{NOBODY}", _joined
    ),
    "DELETE /groups/{group}/members/{principal}": Route(
        f"{G}/members/user:viewer", None, "operator", "group.change", f"group:{NOBODY}", _left
    ),
    "GET /grants": Route("/grants", None, "operator", "access.read", "access:grants", _grants),
    "POST /grants": Route("/grants", GRANT, "operator", "role.grant", "principal:user:viewer", _grant),
    "DELETE /grants/{principal}/{role}/{model}": Route(
        "/grants/user:viewer/operator/served", None, "operator", "role.grant", "principal:user:viewer", _withdrawn
    ),
    "POST /keys/{key_id}/rotation": Route(
        "/keys/00000000/rotation", ROTATION, "viewer", "key.create", "key:00000000", _rotated
    ),
    "GET /reviews": Route("/reviews", None, "operator", "access.read", "access:reviews", _reviews),
    "POST /reviews": Route("/reviews", REVIEW, "admin", "review.manage", "access:reviews", _review_started),
    "GET /reviews/{review}": Route(
        f"/reviews/{NOBODY}", None, "operator", "access.read", f"review:{NOBODY}", _review_shown
    ),
    "GET /reviews/{review}/items": Route(
        f"/reviews/{NOBODY}/items", None, "operator", "access.read", f"review:{NOBODY}", _review_items
    ),
    "POST /reviews/{review}/items/{number}/decision": Route(
        f"/reviews/{NOBODY}/items/1/decision", DECISION, "operator", "review.decide", f"review:{NOBODY}", _decided
    ),
}  # fmt: skip
