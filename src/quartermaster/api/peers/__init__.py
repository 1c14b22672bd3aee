"""Queues and topologies of other schedulers as objects of ours: for `migrate`, and for clusters that have both. Pure.

Every module takes a peer's objects and gives ours with the reasons; what has no counterpart here is named, not dropped
in silence. Pods and pod groups need no translation: they are understood as they are.
"""
