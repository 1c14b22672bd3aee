"""What would change: the same cycle, driven to rest on a situation and on that situation with changes, and compared.

Pure, like the cycle. Whoever asks (the command line, later a controller or a page) brings a `Situation`.
"""
