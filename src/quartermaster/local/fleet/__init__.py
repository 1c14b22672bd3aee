"""Machines that are not there: presets of real ones as Node and ResourceSlice objects, their MIG and their metrics."""
