"""The command that a cluster runs: what the chart says, it understands."""

from pathlib import Path

import pytest
import yaml

from quartermaster.cli.main import main, parser

GOLDEN = Path(__file__).parents[2] / "golden"


@pytest.mark.parametrize("rendered", sorted(GOLDEN.glob("chart_*.yaml")), ids=lambda path: path.stem)
def test_the_arguments_of_the_chart_are_understood(rendered: Path) -> None:
    deployments = [
        value
        for value in yaml.safe_load_all(rendered.read_text(encoding="utf-8"))
        if value and value["kind"] == "Deployment"
    ]
    assert deployments
    for value in deployments:
        (container,) = value["spec"]["template"]["spec"]["containers"]
        options = parser().parse_args(container["args"])
        assert options.command == "controller"
        assert options.leader_elect == ("--leader-elect" in container["args"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--metrics-port", "x"], "--metrics-port: 'x' is no port"),
        (["--seed", "x"], "--seed: 'x' is no number"),
        (["--kubeconfig", "/nowhere/at/all"], "/nowhere/at/all"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["controller", *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
