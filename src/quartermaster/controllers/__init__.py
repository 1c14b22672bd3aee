"""Thin reconcilers: load from mirrors, ask a pure function, write its effects through `kube.api.Api`."""
