"""The vault: encrypted blobs, taken in once, opened by authenticated segments, shredded by their keys."""

from fastness.foundation.vault.records import Candidate, LoadTicket
from fastness.foundation.vault.segments import Segments
from fastness.foundation.vault.vault import Vault

__all__ = ["Candidate", "LoadTicket", "Segments", "Vault"]
