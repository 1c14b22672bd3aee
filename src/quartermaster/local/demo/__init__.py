"""A day of mixed work for a local cluster: what is submitted when, as data (`day.yaml`), and the one who submits it."""
