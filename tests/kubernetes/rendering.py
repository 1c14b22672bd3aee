"""What the chart renders, by the real helm. `python -m tests.kubernetes.rendering` writes the golden files anew."""

import subprocess
from typing import Any

import yaml

from tests.kubernetes.fixtures import program
from tools.generated import CHART, ROOT

SPACE = "quartermaster-system"
EVERYTHING = (
    "metrics.serviceMonitor.enabled=true",
    "metrics.serviceMonitor.labels.release=prometheus",
    "image.digest=sha256:" + "0" * 64,
    "schedulerNames={quartermaster,kai-scheduler}",
    "networkPolicy.metricsFrom[0].namespaceSelector.matchLabels.name=monitoring",
    "nodeSelector.pool=system",
    "extraArgs={--seed=1}",
    "rbac.readGroups={example.com}",
)
GOLDEN = {"chart_default": (), "chart_everything": EVERYTHING}


def helm(*words: str, code: int = 0) -> str:
    """Helm on the chart alone, with no cluster."""
    done = subprocess.run(
        [str(program("helm")), *words], capture_output=True, text=True, timeout=60, cwd=ROOT, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def rendered(*values: str) -> list[dict[str, Any]]:
    """The objects of a release `qm` with these values."""
    settings = [part for value in values for part in ("--set", value)]
    text = helm("template", "qm", str(CHART), "--namespace", SPACE, *settings)
    return [found for found in yaml.safe_load_all(text) if found]


def golden(name: str) -> str:
    """What a golden file has to say. Definitions are not in it: they are compared elsewhere."""
    found = [item for item in rendered(*GOLDEN[name]) if item["kind"] != "CustomResourceDefinition"]
    return yaml.safe_dump_all(found, sort_keys=False, width=120)


if __name__ == "__main__":
    for case in GOLDEN:
        (ROOT / f"tests/golden/{case}.yaml").write_text(golden(case))
