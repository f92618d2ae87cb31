"""`journey remind`: what it says, at a real interval, and by a real cron."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import EDITIONS

from microgpt.cli import main
from microgpt.errors import ConfigError
from microgpt.journey import remind


def test_a_reminder_says_where_the_ledger_stands_and_what_to_try_next(tmp_path: Path) -> None:
    state = tmp_path / "deep" / "remind.json"
    first = remind.remind(EDITIONS, state)
    assert any(line.startswith("golf.py") for line in first.standing)
    assert first.changes == []
    assert first.candidate and "‹1›" in first.text()
    assert remind.remind(EDITIONS, state).candidate != first.candidate  # another one each time


def test_a_reminder_says_what_changed_since_the_last_one(tmp_path: Path) -> None:
    copy, state = tmp_path / "editions", tmp_path / "state.json"
    shutil.copytree(EDITIONS, copy)
    remind.remind(copy, state)
    (copy / "golf.py").write_text("print(1)\n")
    (copy / "vector.py").unlink()
    changes = remind.remind(copy, state).changes
    assert any(line.startswith("golf.py:") and "became 1, 9" in line for line in changes)
    assert "vector.py is gone" in changes
    assert remind.remind(copy, state).changes == []


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("10m", 600), ("1h", 3600), ("2d", 172_800)]
)
def test_times_are_read(text: str, seconds: int) -> None:
    assert remind.seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "1", "h", "0s", "-1s", "1.5h", "1w", "9999999s"])
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="a time is a number"):
        remind.seconds_of(text)


def test_a_real_interval_is_kept() -> None:
    moments: list[float] = []
    remind.every(1, 3, lambda: moments.append(time.monotonic()))
    gaps = [b - a for a, b in zip(moments, moments[1:], strict=False)]
    assert len(moments) == 3
    assert all(0.9 < gap < 3.0 for gap in gaps)


def test_the_command_reminds_repeatedly(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--editions", str(EDITIONS), "--state", str(tmp_path / "s.json")]
    assert main(["journey", "remind", *flags, "--every", "1s", "--times", "2"]) == 0
    assert capsys.readouterr().out.count("The editions stand at:") == 2


def test_a_crontab_keeps_its_other_lines() -> None:
    other = "# mine\n5 4 * * * backup\n"
    installed = remind.cron_text(other, "0 * * * * us")
    assert installed == f"{other}0 * * * * us {remind.MARK}\n"
    assert remind.cron_text(installed, "0 * * * * new") == f"{other}0 * * * * new {remind.MARK}\n"
    assert remind.cron_text(installed, None) == other
    assert remind.cron_text("", None) == ""


@pytest.fixture
def crontab() -> str:
    """The program, where there is one; the user's table is as before afterwards."""
    program = shutil.which("crontab")
    if not program:
        pytest.skip("there is no crontab on this system")
    before = subprocess.run([program, "-l"], capture_output=True, text=True)
    yield program
    subprocess.run(
        [program, "-"], input=before.stdout if before.returncode == 0 else "", text=True, check=True
    )


def test_the_users_crontab_gets_the_line_and_loses_it_again(crontab: str, tmp_path: Path) -> None:
    before = subprocess.run([crontab, "-l"], capture_output=True, text=True).stdout
    flags = ["--editions", str(EDITIONS), "--state", str(tmp_path / "s.json")]
    assert main(["journey", "remind", *flags, "--install", "cron"]) == 0
    assert main(["journey", "remind", *flags, "--install", "cron"]) == 0
    listed = subprocess.run([crontab, "-l"], capture_output=True, text=True).stdout
    assert listed.count(remind.MARK) == 1 and str(EDITIONS) in listed
    assert main(["journey", "remind", *flags, "--uninstall", "cron"]) == 0
    assert subprocess.run([crontab, "-l"], capture_output=True, text=True).stdout == before


@pytest.mark.soak
def test_a_real_cron_runs_the_reminder(crontab: str, tmp_path: Path) -> None:
    """The installed line, made due every minute, run by the system's own cron."""
    daemon = shutil.which("cron")
    if not daemon or os.geteuid() != 0:
        pytest.skip("starting cron needs root and a cron")
    state = tmp_path / "s.json"
    installed = remind.change_cron(EDITIONS, state, True)
    every_minute = installed.replace("0 * * * *", "* * * * *")
    subprocess.run([crontab, "-"], input=every_minute, text=True, check=True)
    running = subprocess.Popen([daemon, "-f"])
    try:
        deadline = time.monotonic() + 130
        while not state.exists() and time.monotonic() < deadline:
            time.sleep(1)
        time.sleep(2)
    finally:
        running.terminate()
        running.wait()
    assert "The editions stand at:" in state.with_suffix(".log").read_text()


def test_systemd_units_are_valid_and_go_away_again(tmp_path: Path) -> None:
    folder, state = tmp_path / "user", tmp_path / "s.json"
    remind.change_systemd(EDITIONS, state, True, folder)
    timer, service = folder / "microgpt-remind.timer", folder / "microgpt-remind.service"
    assert "OnCalendar=hourly" in timer.read_text()
    assert sys.executable in service.read_text()
    if analyze := shutil.which("systemd-analyze"):
        checked = subprocess.run(
            [analyze, "verify", "--user", str(timer)], capture_output=True, text=True
        )
        assert "Unknown" not in checked.stderr and "Failed to parse" not in checked.stderr
    remind.change_systemd(EDITIONS, state, False, folder)
    assert list(folder.iterdir()) == []
