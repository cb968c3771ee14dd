import pytest

from lorajobs.processes.screen import Screen


def test_each_line_follows_the_name_of_its_process(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen("up", ["api", "worker.demo"])
    screen.say("", "starting")
    screen.say("api", "[red]as it is[/red] " + "x" * 200)
    assert capsys.readouterr().out.splitlines() == [
        "up          │ starting",
        "api         │ [red]as it is[/red] " + "x" * 200,
    ]
