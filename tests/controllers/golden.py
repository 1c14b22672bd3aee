"""What a real kube-controller-manager made of each story: written by `python -m tests.controllers record` only."""

from functools import cache
from pathlib import Path

from tests import recordings
from tests.recordings import Recording

FILE = Path(__file__).parent / "golden.jsonl.gz"


@cache
def load() -> tuple[str, Recording]:
    """The release, and what it made."""
    return recordings.read(FILE)


def save(release: str, recording: Recording) -> None:
    """Write it."""
    recordings.write(FILE, release, recording)
