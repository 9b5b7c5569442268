"""Floor 10: the faces of the house: control-plane API and command line."""
