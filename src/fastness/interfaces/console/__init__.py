"""The console: pages for people, rendered here; the one script is for passkeys.

Every page shows and does what a call of `/api/v1` and a command do; forms carry the token of the session.
"""
