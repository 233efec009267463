"""One folder per way of telling the kernel."""
