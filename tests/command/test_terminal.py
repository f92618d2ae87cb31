"""On a real terminal: a live bar on stderr, known strings dimmed, nothing of it left in data."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import TINY_DOCUMENTS

from microgpt.terminal import sparkline, table, visible

FLAGS = [
    "--n-embd",
    "4",
    "--n-head",
    "2",
    "--block-size",
    "5",
    "--steps",
    "400",
    "--learning-rate",
    "0.05",
]


def on_terminal(folder: Path, *arguments: str, **environment: str) -> str:
    """Everything that a command writes to a terminal that is its stdout and its stderr."""
    master, slave = pty.openpty()
    (folder / "list.txt").write_text("\n".join(TINY_DOCUMENTS))
    command = [sys.executable, "-m", "microgpt", "train", "list.txt", *FLAGS, *arguments]
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    env = kept | {"TERM": "xterm-256color", "COLUMNS": "120"} | environment
    with subprocess.Popen(
        command, cwd=folder, env=env, stdin=slave, stdout=slave, stderr=slave
    ) as process:
        os.close(slave)
        parts = []
        while True:
            try:
                parts.append(os.read(master, 65_536))
            except OSError:  # the other end is closed
                break
        assert process.wait() == 0
    os.close(master)
    return b"".join(parts).decode()


def test_a_terminal_sees_a_bar_with_loss_and_curve_and_known_strings_dimmed(tmp_path: Path) -> None:
    pytest.importorskip("rich")
    shown = on_terminal(tmp_path)
    assert (
        "━" in shown
        and "mean loss " in shown
        and "/400" in shown
        and any(spark in shown for spark in "▁▂▃▄▅▆▇█")
    )
    assert "\x1b[2mab\x1b[0m" in shown
    assert shown.rstrip().splitlines()[-1]


def test_a_transcript_on_a_terminal_has_no_progress_beside_it(tmp_path: Path) -> None:
    shown = on_terminal(tmp_path, "--transcript")
    assert "step  400 /  400 | loss" in shown and "saved list.safetensors" in shown
    assert "━" not in shown and "mean loss" not in shown


def test_no_color_and_quiet_are_heard_on_a_terminal(tmp_path: Path) -> None:
    shown = on_terminal(tmp_path, "-q", NO_COLOR="1")
    assert "\x1b" not in shown and "━" not in shown
    assert len(shown.splitlines()) == 20


def test_a_sparkline_follows_its_numbers() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8) == "▁▂▃▄▅▆▇█"
    assert sparkline([5, 5, 0, 0], 2) == "█▁"
    assert sparkline([], 5) == ""


def test_a_table_aligns_its_columns() -> None:
    assert table([["a", "10"], ["long", "2"]], ["x", "n"]) == "x      n\na     10\nlong   2"


def test_control_characters_become_visible() -> None:
    assert visible("a\x1b[31m\u202eb\n") == "a\\x1b[31m\\u202eb\\n"
