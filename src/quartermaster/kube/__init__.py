"""Talking to a Kubernetes API: what controllers need of it, and nothing about the objects themselves."""
