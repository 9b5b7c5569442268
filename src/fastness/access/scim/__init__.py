"""Joiners, movers and leavers by SCIM 2.0: a directory service tells who there is and to which groups they belong.

A route is three lines: it decides `directory.provision`, reads the request as a `ScimRequest`, and sends what `serve` gives.
"""

from fastness.access.scim.parts import Provisioning, ScimReply, ScimRequest
from fastness.access.scim.service import MEDIA_TYPE, refused, serve
from fastness.access.scim.settings import ScimSettings

__all__ = ["MEDIA_TYPE", "Provisioning", "ScimReply", "ScimRequest", "ScimSettings", "refused", "serve"]
