"""Addresses for Services of type LoadBalancer on a plain LAN, and who answers ARP and NDP for them.

    Service ──► controller.py ── allocation.py, pools.py ──► status.loadBalancer
                                                                  │ watch
    LAN ◄── ARP, NDP ── speaker.py on every node ◄── election.py ◄┘ ◄── heartbeat.py ── other speakers

The kernel rules that lead from such an address to pods are the proxy's, which reads the same status.
"""
