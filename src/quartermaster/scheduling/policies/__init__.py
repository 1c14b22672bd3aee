"""Placement policies: how nodes that fit are ranked. `catalogue` has them by the names of the command line."""
