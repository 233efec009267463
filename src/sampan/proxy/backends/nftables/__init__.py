"""Services in nftables: a few shared maps and chains; see README.md beside this file for the packet's path."""
