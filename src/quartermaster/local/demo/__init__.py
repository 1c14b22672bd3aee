"""A day of mixed work for a local cluster: its data (`day.yaml`), one who submits it, and one who gives an account."""
