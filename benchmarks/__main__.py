"""``python -m benchmarks [NAME] [-o table|json]``: measure, and print the figures."""

from __future__ import annotations

import argparse
import sys

from benchmarks import api, backfill, client, compare, e2e, kai, muri, openb, pollux, scheduling
from benchmarks.figures import Figure, as_json, as_table
from quartermaster.cli.collector import tune_collector

SUITES = {
    "api": api.figures,
    "client": client.figures,
    "scheduling": scheduling.figures,
    "openb": openb.figures,
    "muri": muri.figures,
    "pollux": pollux.figures,
    "kai": kai.figures,
    "backfill": backfill.figures,
}
"""What runs when no name is given."""

LONG = {
    "compare": compare.figures,
    "e2e": e2e.suite(e2e.FULL),
    "e2e-small": e2e.suite(e2e.SMALL),
    "growth": scheduling.growth,
    "kai-growth": kai.growth,
    "openb-table": openb.table,
}
"""Minutes to half an hour: only by name."""


def main() -> int:
    """Run what was asked for; progress on standard error, figures on standard output."""
    known = SUITES | LONG
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", nargs="?", choices=sorted(known), help=f"all but {', '.join(LONG)} if not given")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    options = parser.parse_args()
    tune_collector()
    figures: list[Figure] = []
    for name in [options.name] if options.name else SUITES:
        for figure in known[name]():
            figures.append(figure)
            sys.stderr.write(f"{figure.name}: {figure.value:.4g} {figure.unit}\n")
    print(as_json(figures) if options.output == "json" else as_table(figures))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
