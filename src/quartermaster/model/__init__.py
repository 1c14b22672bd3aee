"""Frozen values that the whole control plane speaks in. Imports nothing but the standard library."""
