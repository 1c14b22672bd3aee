"""The recorded test cases of KAI-Scheduler, played on our cycle in its compatibility mode.

The format, its rounds and its checks are described in `scenarios/kai/README.md`. Nothing here knows a case by name.
"""
