"""Floor 0: the words everybody uses, errors, settings, clock, plug-in discovery. The modules are the public surface."""
