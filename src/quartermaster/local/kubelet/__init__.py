"""The kubelet's own API of simulated machines: what a cluster's API server asks of the nodes.

`logs` and `commands` are pure, `serving` answers requests.
"""
