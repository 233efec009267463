"""Who sent a request: client certificates and service-account tokens."""
