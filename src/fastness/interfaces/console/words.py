"""What each action is in plain words, for people who are asked to permit it."""

from __future__ import annotations

from typing import Final

from fastness.core.identity import Action

WORDS: Final = {
    Action.MODEL_INFER: "call models",
    Action.MODEL_READ: "see models, their versions and what was found in them",
    Action.MODEL_PUSH: "push new versions of models",
    Action.MODEL_PULL: "download models",
    Action.MODEL_APPROVE: "hand in approvals of versions",
    Action.MODEL_DEPLOY: "put versions into service",
    Action.MODEL_ROLLBACK: "roll back to earlier versions",
    Action.MODEL_QUARANTINE: "take versions out of service",
    Action.MODEL_DELETE: "delete models",
    Action.ALLOWANCE_GRANT: "let checks that were not run pass for a while",
    Action.APPROVAL_GIVE: "hand in approvals of what takes several people",
    Action.ACCESS_READ: "see who may do what",
    Action.PRINCIPAL_CREATE: "add and deactivate people and programs",
    Action.ROLE_GRANT: "give and take roles",
    Action.GROUP_CHANGE: "change groups",
    Action.TENANT_CREATE: "make and end tenants",
    Action.KEY_CREATE: "make API keys",
    Action.KEY_REVOKE: "revoke API keys",
    Action.SESSION_REVOKE: "end sessions",
    Action.CREDENTIAL_RESET: "take away others' passwords and second factors",
    Action.CLIENT_CHANGE: "add and end programs that ask for tokens",
    Action.PROVIDER_CHANGE: "say by whom people come in besides the house itself",
    Action.TOKEN_DELEGATE: "let others act on your behalf",
    Action.POLICY_READ: "see rules, approvals, restrictions and quotas",
    Action.POLICY_CHANGE: "change rules",
    Action.RESTRICTION_CHANGE: "block and slow down people, keys and addresses",
    Action.QUOTA_CHANGE: "change quotas",
    Action.REVIEW_MANAGE: "start and close access reviews",
    Action.REVIEW_DECIDE: "decide access reviews",
    Action.DIRECTORY_PROVISION: "keep people and groups up to date from a directory",
    Action.KEYRING_ROTATE: "rotate the keys of the house",
    Action.AUDIT_READ: "read the record",
    Action.AUDIT_EXPORT: "export the record",
    Action.METRICS_READ: "read measurements",
    Action.SYSTEM_READ: "see how the house stands",
}
