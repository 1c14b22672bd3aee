"""The controllers that a cluster needs around its API server: each a pure function, and one loop that runs them.

A controller is ``reconcile(objects, key, now) -> Outcome``: from what the API holds, what to write next and when to
look again. It keeps nothing between calls, so a restart is a relist and any order of events ends in the same objects.
`manager.py` watches, queues and writes. Garbage and namespaces are collected by the API server itself
(apiserver/garbage.py); binding pods to nodes is the scheduler's and running them the kubelet's.
"""
