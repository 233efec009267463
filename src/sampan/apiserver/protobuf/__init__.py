"""Request bodies in Kubernetes' protobuf form, which newer kubectl sends for typed creates; answers stay JSON."""
