"""`quartermaster crds`."""

import json

import pytest
import yaml

from quartermaster.api.definitions import manifests
from quartermaster.cli.main import main


def test_both_forms_are_the_definitions(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["crds"]) == 0
    assert list(yaml.safe_load_all(capsys.readouterr().out)) == manifests()
    assert main(["crds", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["items"] == manifests()
