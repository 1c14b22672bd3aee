"""What runs on a laptop instead of a cluster: the embedded Kubernetes API and what lives on it."""
