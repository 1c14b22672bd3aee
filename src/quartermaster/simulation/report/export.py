"""Results for programs. Both forms are an interface that others script against: change them by adding, if at all.

JSON: ``{"trace", "nodes", "gpus", "runs": [{"policy", "seed", "metrics": {}}], "summary": [{"policy", "metric",
"mean", "std", "n"}]}``. CSV: a row for each run and metric. Numbers have every digit that they have; `std` is the
sample standard deviation, 0.0 for a single run.
"""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from quartermaster.simulation.results import Experiment


def as_dict(experiment: Experiment) -> dict[str, Any]:
    """The JSON document as plain values."""
    return {
        "trace": experiment.trace,
        "nodes": experiment.nodes,
        "gpus": experiment.gpus,
        "runs": [{"policy": run.policy, "seed": run.seed, "metrics": dict(run.metrics)} for run in experiment.runs],
        "summary": [row._asdict() for row in experiment.summary()],
    }


def to_json(experiment: Experiment) -> str:
    """The JSON document, with a line end. A number that JSON cannot say is a bug, and refused."""
    return json.dumps(as_dict(experiment), indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def to_csv(experiment: Experiment) -> str:
    """The CSV table, long form."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("trace", "policy", "seed", "metric", "value"))
    for run in experiment.runs:
        for metric, value in run.metrics.items():
            writer.writerow((experiment.trace, run.policy, run.seed, metric, repr(value)))
    return out.getvalue()
