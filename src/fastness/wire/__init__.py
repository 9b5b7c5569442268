"""Message structs and codecs shared by the server and the SDK. The modules are the public surface.

`oip`: Open Inference Protocol v2; `problems`: problem+json; `control`: the control plane's messages; `frames`: the
private socket between the processes of a house. Nothing is imported here: who runs the control plane needs no numpy.
"""
