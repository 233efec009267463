"""One controller per file; manager.py runs them."""
