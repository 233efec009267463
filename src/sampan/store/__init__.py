"""Versioned keys with compare-and-swap and watch; only the API server opens it."""
