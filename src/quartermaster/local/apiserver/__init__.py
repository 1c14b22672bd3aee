"""A Kubernetes API server in this process: see docs/local-api.md."""
