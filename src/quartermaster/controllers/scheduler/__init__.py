"""The scheduler of a cluster: what the API says becomes state and groups, a cycle decides, and the API is told."""
