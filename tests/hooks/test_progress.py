"""The progress bar on a terminal, and plain lines elsewhere."""

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from torchestimator.hooks.progress import is_terminal

ROOT = Path(__file__).parents[2]
COLUMNS = 220


def start(situations, **streams):
    environment = {**os.environ, "TERM": "xterm", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.hooks.terminal_program", *situations]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, **streams)


def read_all(terminal):
    """What a program wrote to a terminal until it closed it."""
    written = b""
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # Linux reports the closed other side so
            return written
        if not part:
            return written
        written += part


def screen(written):
    """The lines that a terminal shows in the end, and all that any line ever was."""
    lines, column, states = [""], 0, []
    for character in written:
        if character == "\n":
            lines.append("")
            column = 0
        elif character == "\r":
            states.append(lines[-1].rstrip())
            column = 0
        else:
            assert character != "\x1b", "the bars of these tests never move over lines"
            lines[-1] = lines[-1][:column] + character + lines[-1][column + 1 :]
            column += 1
    return [line.rstrip() for line in lines], states


def parts(written):
    titles = re.split(r"== ([a-z ]+)\r?\n", written)
    assert not titles[0]
    return dict(zip(titles[1::2], titles[2::2], strict=True))


@pytest.fixture(scope="module")
def outputs():
    """What the program shows on a terminal and in a pipe, by situation."""
    terminal, other_side = pty.openpty()
    fcntl.ioctl(other_side, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
    with (
        start(["usual", "error", "off", "dumb", "configured"], stderr=other_side) as on_terminal,
        start(["usual", "configured"], stderr=subprocess.PIPE) as in_pipe,
    ):
        os.close(other_side)
        shown = read_all(terminal).decode()
        piped = in_pipe.stderr.read().decode()
    os.close(terminal)
    assert (on_terminal.returncode, in_pipe.returncode) == (0, 0), shown + piped
    return parts(shown), parts(piped)


def bars(states):
    return [state for state in states if state.startswith("train:")]


def words(lines, prefix="INFO:torchestimator: "):
    return [line for line in lines if line.startswith(prefix)]


def test_the_bar_shows_steps_rate_remaining_time_and_loss(outputs):
    lines, states = screen(outputs[0]["usual"])
    seen = bars([*states, *lines])
    assert re.match(r"train: +0%\| +\| 0/15 \[00:00<\?, \?step/s", seen[0])
    assert any(re.search(r" \d+/15 \[00:00<00:00, +[\d.]+step/s, loss=[\d.]+\]$", bar) for bar in seen[:-1])
    (left,) = bars(lines)
    assert re.match(r"train: 100%\|\S+\| 15/15 \[00:00<00:00, +[\d.]+step/s, loss=[\d.]+\]$", left)


def test_lines_stand_whole_above_the_bar(outputs):
    lines, _ = screen(outputs[0]["usual"])
    assert [line for line in lines if "word at" in line] == [
        f"INFO:torchestimator: word at {step}" for step in range(1, 16)
    ]
    others = [line for line in lines if line and line not in words(lines)]
    assert others == bars(lines)
    assert any(
        re.fullmatch(r"INFO:torchestimator: Saved checkpoint for step 15: \S+/model.ckpt-15", at) for at in lines
    )


def test_no_log_lines_repeat_what_the_bar_shows(outputs):
    assert "global_step/sec" not in outputs[0]["usual"]
    assert "loss = " not in outputs[0]["usual"]


def test_a_resumed_training_starts_where_it_was(outputs):
    lines, states = screen(outputs[0]["resumed"])
    assert " 15/20 " in bars(states)[0]
    assert " 20/20 " in bars(lines)[-1]


def test_where_the_end_is_unknown_the_bar_counts(outputs):
    lines, _ = screen(outputs[0]["unknown end"])
    (left,) = bars(lines)
    assert re.match(r"train: 28step \[00:00, +[\d.]+step/s, loss=[\d.]+\]$", left)


def test_lines_of_evaluations_stand_above_the_bar(outputs):
    lines, _ = screen(outputs[0]["evaluated"])
    assert "INFO:torchestimator: Evaluation [3/3]" in lines
    assert " 32/32 " in bars(lines)[-1]


def test_an_error_leaves_the_bar_and_gives_the_terminal_back(outputs):
    lines, _ = screen(outputs[0]["error"])
    (left,) = bars(lines)
    assert re.search(r"\| \d/15 \[", left)
    assert lines.index(left) < lines.index("INFO:torchestimator: after the error")


@pytest.mark.parametrize(("side", "situation"), [(0, "off"), (0, "dumb"), (1, "usual"), (1, "configured")])
def test_elsewhere_plain_lines_come_instead(outputs, side, situation):
    written = outputs[side][situation].replace("\r\n", "\n")
    assert "\r" not in written
    assert "train:" not in written
    lines, _ = screen(written)
    assert len([line for line in lines if "global_step/sec: " in line]) == 2
    assert len([line for line in lines if re.search(r"loss = [\d.]+, step = \d+", line)]) == 3


def test_handlers_of_the_program_write_above_the_bar_and_get_their_stream_back(outputs):
    lines, _ = screen(outputs[0]["configured"])
    spoken = [f"torchestimator word at {step}" for step in range(1, 16)]
    assert [line for line in lines if "word at" in line] == spoken
    (left,) = bars(lines)
    assert lines.index(left) < lines.index("other after the bar")
    assert "streams are back: True True" in lines


@pytest.mark.parametrize("side", [0, 1])
def test_a_program_with_handlers_sees_each_line_once(outputs, side):
    lines, _ = screen(outputs[side]["configured"])
    assert not words(lines)
    assert lines.count("torchestimator Create CheckpointSaverHook.") == 1


def test_what_is_a_terminal(monkeypatch):
    main, other_side = pty.openpty()
    with open(main, "wb", closefd=True), open(other_side, "w", encoding="utf-8") as stream:
        monkeypatch.setenv("TERM", "xterm-256color")
        assert is_terminal(stream)
        monkeypatch.delenv("TERM")
        assert is_terminal(stream)
        monkeypatch.setenv("TERM", "dumb")
        assert not is_terminal(stream)
    assert not is_terminal(io.StringIO())
    assert not is_terminal(None)
