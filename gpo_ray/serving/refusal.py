"""Refuse a websocket, which has no status and body to say why."""

from __future__ import annotations

from starlette.types import Receive, Send

POLICY_VIOLATION = 1008
"""Websocket close code for a client that may not do what it asks for (RFC 6455, section 7.4.1)."""
TRY_AGAIN_LATER = 1013
"""Websocket close code of a server that has too much to do (registered with IANA)."""


async def refuse_websocket(receive: Receive, send: Send, code: int) -> None:
    """Close a websocket instead of accepting it; servers then answer the handshake with status 403.

    Args:
        receive: ASGI function of the socket, from which no message was received yet.
        send: ASGI function of the socket.
        code: close code, for servers that pass it on.
    """
    await receive()  # ASGI has the application wait for the message that asks for the connection
    await send({"type": "websocket.close", "code": code})
