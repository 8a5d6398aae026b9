"""The paths of the service, a file a kind: each reads a query, asks, and returns a model."""
