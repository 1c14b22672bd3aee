"""Figures, measured by commands: ``python -m benchmarks [NAME] [-o json]``. Never part of the tests."""
