"""The command line as a whole: exit codes, errors in one line, pipes."""

import subprocess
import sys

import pytest

import torchestimator as te
from torchestimator.cli.main import main


def command(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "torchestimator", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


def test_version(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"torchestimator {te.__version__}\n"


def test_help_names_the_commands(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert all(f"\n    {name} " in text for name in ("show", "run", "serve"))


@pytest.mark.parametrize("name", ["show", "run", "serve"])
def test_each_command_has_examples(name, capsys):
    with pytest.raises(SystemExit) as end:
        main([name, "--help"])
    assert end.value.code == 0
    assert f"torchestimator {name} " in capsys.readouterr().out.partition("examples:")[2]


@pytest.mark.parametrize("arguments", [[], ["polish"], ["show"], ["run", "x", "--output", "xml"]])
def test_a_wrong_command_line_shows_the_usage(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert "usage: torchestimator" in capsys.readouterr().err


def test_errors_are_one_line_and_no_traceback(tmp_path):
    ended = command("show", tmp_path / "none")
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr == f"torchestimator show: error: There is no folder {tmp_path / 'none'}.\n"


def test_errors_of_several_lines_become_one(tmp_path, capsys):
    (tmp_path / "signatures.json").write_text("{\n")
    assert main(["show", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "is no valid JSON" in error


def test_a_missing_signature_is_an_error_without_quotes(exports, capsys):
    assert main(["run", str(exports), "--signature", "serving_defualt", "--input", "x=[1,2,3,4]"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"torchestimator run: error: {exports}")
    assert "Did you mean 'serving_default'?" in error


def test_results_go_to_standard_output(exports):
    ended = command("run", exports, "--inputs", "-", "--output", "csv", input="x[0],x[1],x[2],x[3]\n1,2,3,4\n")
    assert (ended.returncode, ended.stdout) == (0, "scores[0],scores[1],class_ids\n3.0,7.0,1\n")


def test_a_closed_pipe_is_no_error(exports):
    row = "1,2,3,4\n"
    process = subprocess.Popen(
        [sys.executable, "-m", "torchestimator", "run", exports, "--inputs", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stdout.close()
    process.stdin.write("x[0],x[1],x[2],x[3]\n" + row * 20_000)
    process.stdin.close()
    assert process.wait() == 0
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()
