"""What people write in files: one vocabulary for clusters, queues and workloads, read here and nowhere else.

Scenarios (`testing.scenarios`) and snapshots share it. Text goes in and values of the model come out; whatever is wrong
is an `InvalidInput` with the file and the field.
"""
