"""One file per verb: from a request about a resource to its answer."""
