"""The only door to Linux: netlink, namespaces, nftables, mounts, cgroups, processes."""
