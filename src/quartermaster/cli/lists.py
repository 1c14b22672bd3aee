"""``quartermaster policies`` and ``quartermaster traces``: what there is to choose from."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from quartermaster.scheduling.policies.catalogue import catalogue as all_policies
from quartermaster.simulation.traces.catalogue import CATALOGUE
from quartermaster.simulation.traces.formats import formats


def policies(options: argparse.Namespace) -> int:
    """One line per policy: name, what it decides, what it does, whence."""
    entries = all_policies()
    if options.output == "json":
        print(json.dumps({"policies": [asdict(entry) for entry in entries]}, indent=1))
        return 0
    for entry in entries:
        print(f"{entry.name:15} {entry.kind:10} {entry.summary} [{entry.citation}]")
    return 0


def traces(options: argparse.Namespace) -> int:
    """The shipped traces, then the formats."""
    entries = list(CATALOGUE.values())
    if options.output == "json":
        keys = ("name", "format", "description", "size", "unit", "nodes", "gpus", "source", "licence")
        shipped = [{key: getattr(entry, key) for key in keys} for entry in entries]
        known = [
            {"name": form.name, "description": form.description, "files": [file.role for file in form.files]}
            for form in formats()
        ]
        print(json.dumps({"traces": shipped, "formats": known}, indent=1))
        return 0
    for entry in entries:
        size = f"{entry.size:,} {entry.unit} on {entry.gpus:,} GPUs"
        print(f"{entry.name:24} {size:26} {entry.description} [{entry.licence}]")
    print("\nformats of your own files (simulate --format NAME):")
    for form in formats():
        files = " ".join(f"--{file.role} FILE" for file in form.files) + (" --cluster NxG" if form.has_jobs else "")
        print(f"{form.name:24} {files:26} {form.description}")
    return 0
