"""Load balancer for Services of type LoadBalancer on a plain LAN: IP allocation, and answers to ARP and NDP.

    Service ──► controller.py ── allocation.py, pools.py ──► status.loadBalancer
                                                                  │ watch
    LAN ◄── ARP, NDP ── speaker.py on every node ◄── election.py ◄┘ ◄── heartbeat.py ── other speakers

The proxy reads the same status and installs the kernel rules from these addresses to pods.
"""
