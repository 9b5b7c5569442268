"""The stages: one file each, found by `core.plugins.discover`."""
