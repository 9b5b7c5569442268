"""The Python SDK: call served models (`Client`) and run the control plane (`ControlClient`)."""

from fastness.client.control import ControlClient
from fastness.client.inference import Client, InferResult
from fastness.client.transport import Body, HttpTransport, Reply, Transport

__all__ = ["Body", "Client", "ControlClient", "HttpTransport", "InferResult", "Reply", "Transport"]
