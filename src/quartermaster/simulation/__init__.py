"""Replay of workloads in virtual time: trace readers, the event loop and the reports."""
