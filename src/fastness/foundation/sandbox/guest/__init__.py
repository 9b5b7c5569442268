"""Programs of the other side: they run before or inside the isolation, with the standard library alone."""
