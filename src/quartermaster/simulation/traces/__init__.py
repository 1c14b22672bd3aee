"""Workload traces: files that people recorded or wrote, checked and turned into the values the simulator takes.

A reader refuses a file that it does not understand in full. A trace read half right gives a result that looks like
any other, so every complaint names file, line and column, and nothing is guessed, skipped or clipped.
"""
