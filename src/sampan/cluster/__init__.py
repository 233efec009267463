"""The box: a whole cluster inside namespaces of its own."""
