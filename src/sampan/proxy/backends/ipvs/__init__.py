"""Services as virtual servers of the kernel's own load balancer: hash tables instead of rules, and its schedulers."""
