"""Scenarios of one's own: a cluster, what is submitted to it and what happens over virtual time, and what to expect."""
