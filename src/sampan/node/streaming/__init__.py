"""exec, attach and port-forward: what kubectl streams to and from pods, over SPDY and over WebSocket."""
