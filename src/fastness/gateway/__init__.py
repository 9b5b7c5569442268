"""The data plane: one raw ASGI application behind one strict protocol, and the request path between them."""

from fastness.gateway.app import Gateway, create_app
from fastness.gateway.overview import served_routes
from fastness.gateway.parts import GatewayParts
from fastness.gateway.protocol import EdgeProtocol
from fastness.gateway.settings import GatewaySettings

__all__ = ["EdgeProtocol", "Gateway", "GatewayParts", "GatewaySettings", "create_app", "served_routes"]
