"""A small asynchronous Kubernetes client: REST, informers, work queue, events, leader election."""
