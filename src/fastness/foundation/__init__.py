"""Floor 1: what every floor above stands on."""
