"""The data plane: one raw ASGI application behind one strict protocol, and the request path between them."""

from fastness.gateway.app import Gateway, create_app
from fastness.gateway.connection import PEER_KEY
from fastness.gateway.overview import served_routes
from fastness.gateway.parts import GatewayParts, SharedNonces
from fastness.gateway.protocol import EdgeProtocol
from fastness.gateway.settings import GatewaySettings

__all__ = [
    "PEER_KEY",
    "EdgeProtocol",
    "Gateway",
    "GatewayParts",
    "GatewaySettings",
    "SharedNonces",
    "create_app",
    "served_routes",
]
