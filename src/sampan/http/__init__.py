"""HTTP/1.1, WebSocket and SPDY on asyncio, for servers and clients alike."""
