"""The tamper-evident log: sequencer, tiles, checkpoints, proofs, and the event table that is searched through it."""

from fastness.foundation.ledger.checkpoint import NoteSigner, SignedCheckpoint, open_checkpoint
from fastness.foundation.ledger.log import Entry, Ledger
from fastness.foundation.ledger.merkle import verify_consistency, verify_inclusion
from fastness.foundation.ledger.sequencer import Sequencer
from fastness.foundation.ledger.verify import LogReport, verify_log

__all__ = [
    "Entry",
    "Ledger",
    "LogReport",
    "NoteSigner",
    "Sequencer",
    "SignedCheckpoint",
    "open_checkpoint",
    "verify_consistency",
    "verify_inclusion",
    "verify_log",
]
