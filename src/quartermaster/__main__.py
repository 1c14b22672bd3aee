"""``python -m quartermaster``."""

from quartermaster.cli.main import run

run()
