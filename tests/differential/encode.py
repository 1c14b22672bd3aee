"""Fills in the bytes of protobuf.yaml: the objects there, as Kubernetes' own Go code encodes them."""

import json
import re
import subprocess
from pathlib import Path

import yaml

from tools.kubernetes.binaries import MODULES

FILE = Path(__file__).parent / "protobuf.yaml"


def encode() -> None:
    """Rewrite the `bytes` of every entry in place. Raises `CalledProcessError` if Go fails."""
    text = FILE.read_text(encoding="utf-8")
    objects = {name: row["object"] for name, row in yaml.safe_load(text).items()}
    answer = subprocess.run(
        ["go", "run", "./protobuf"],
        cwd=MODULES / "kubernetes",
        input=json.dumps(objects).encode(),
        stdout=subprocess.PIPE,
        check=True,
    )
    encoded = json.loads(answer.stdout)
    for name in objects:
        text = re.sub(
            rf'^({re.escape(name)}:\n(?:  .*\n)*?  bytes: )".*"$', rf'\g<1>"{encoded[name]}"', text, flags=re.MULTILINE
        )
    FILE.write_text(text, encoding="utf-8")
