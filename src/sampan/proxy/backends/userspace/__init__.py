"""The userspace mode: packets of new connections are sent to listeners of this process, which relays them."""
