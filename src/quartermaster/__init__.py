"""Quartermaster: a GPU platform control plane for Kubernetes. `docs/tour.md` says where to start reading."""

__version__ = "0.1.0"
