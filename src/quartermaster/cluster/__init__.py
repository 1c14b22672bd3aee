"""What is free where: the state of the cluster as arrays, kept by deltas, and what-if on top of it."""
