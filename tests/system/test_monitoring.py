"""Prometheus' own tool reads the configuration and the alerts, and tries each alert."""

import subprocess

import pytest

from tests.queries import FOLDER, alerts

pytestmark = pytest.mark.system


def promtool(*argv: str) -> str:
    done = subprocess.run(
        ["promtool", *argv], cwd=FOLDER, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_configuration_is_one_that_prometheus_reads() -> None:
    assert "SUCCESS" in promtool("check", "config", "prometheus.yml")


def test_each_alert_fires_when_it_must_and_is_silent_when_all_is_well() -> None:
    assert "SUCCESS" in promtool("test", "rules", "alerts.test.yml")
    cases = (FOLDER / "alerts.test.yml").read_text().split("\n  - name: ")
    silent, *faults = cases[1:]
    for alert in alerts():
        assert f"alertname: {alert} }}" in silent, alert
        assert any(f"alertname: {alert}\n        exp_alerts:" in case for case in faults), alert
