"""Floor 5: from artifact to release."""
