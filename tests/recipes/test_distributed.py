"""The distributed recipe, cut short: the same numbers from one process and from two, stopped by SIGTERM in between."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import torchestimator as te
from tests.models import steps_saved
from torchestimator.checkpoint.reader import Checkpoint

ROOT = Path(__file__).parents[2]
RECIPE = str(ROOT / "recipes" / "distributed.py")
CLUSTERS = ROOT / "recipes" / "clusters"
GUIDE = (ROOT / "docs" / "distributed.md").read_text(encoding="utf-8")
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
STEPS = 120
TIMEOUT_SECS = 120


def command(launcher, folder, *options):
    sizes = ["--max-steps", str(STEPS), "--save-steps", "20", "--watchdog-secs", "60"]
    return [*launcher, RECIPE, "--model-dir", str(folder), *sizes, *options]


def environment():
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def run(launcher, folder, *options):
    """What it printed."""
    done = subprocess.run(
        command(launcher, folder, *options),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def stopped_at_a_checkpoint(folder, *options):
    """Starts two processes and sends SIGTERM to the one that has started them; returns status and log."""
    with subprocess.Popen(
        command([sys.executable], folder, "--num-devices", "2", *options),
        env=environment(),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    ) as starter:
        try:
            for line in starter.stderr:
                if "Saved checkpoint for step 20" in line:
                    starter.send_signal(signal.SIGTERM)
                    break
            log = starter.communicate(timeout=TIMEOUT_SECS)[1]
        finally:
            starter.kill()
    return starter.returncode, log


def numbers(printed):
    """Accuracy and loss of the summary, which only the chief prints."""
    assert printed.count("=== Distributed digits ===") == 1
    assert f"at step {STEPS}" in printed
    (accuracy,), (loss,) = re.findall(r"accuracy +([0-9.]+)", printed), re.findall(r"loss +([0-9.]+)", printed)
    return float(accuracy), float(loss)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The model_dir of a run of one process, and what it printed."""
    folder = tmp_path_factory.mktemp("alone")
    return folder, run([sys.executable], folder)


def check_same(printed, folder, alone):
    assert numbers(printed) == pytest.approx(numbers(alone[1]), rel=1e-3)
    one, other = Checkpoint(alone[0]), Checkpoint(folder)
    for name in one.model_shapes:
        np.testing.assert_allclose(other.read_model(name), one.read_model(name), rtol=1e-2, atol=1e-4, err_msg=name)


def test_one_process_reads_digits(alone):
    accuracy, _ = numbers(alone[1])
    assert accuracy > 0.95
    assert "1 process(es), SingleDevice('cpu')" in alone[1]
    assert "96 examples, 96 in each process" in alone[1]


def test_two_processes_of_torchrun_give_the_same_numbers(alone, tmp_path):
    printed = run(TORCHRUN, tmp_path, "--strategy", "ddp")
    assert "2 process(es), DDP('cpu')" in printed
    assert "96 examples, 48 in each process" in printed
    check_same(printed, tmp_path, alone)


def test_two_processes_with_shards_stop_and_one_goes_on(alone, tmp_path):
    status, log = stopped_at_a_checkpoint(tmp_path, "--strategy", "fsdp")
    assert status == 128 + signal.SIGTERM, log
    last = steps_saved(tmp_path)[-1]
    assert 20 < last < STEPS
    assert f"SystemExit: saved step {last} first" in log
    check_same(run([sys.executable], tmp_path), tmp_path, alone)


def test_job_files_run_the_recipe_with_options_that_it_has():
    shown = subprocess.run([sys.executable, RECIPE, "--help"], capture_output=True, text=True, check=True).stdout
    for name in ("slurm.sbatch", "pytorchjob.yaml", "jobset.yaml"):
        text = (CLUSTERS / name).read_text(encoding="utf-8")
        used = re.findall(r"(--[\w-]+)", text.rpartition("recipes/distributed.py")[2].partition("env:")[0])
        assert "--model-dir" in used
        assert set(used) <= set(re.findall(r"--[\w-]+", shown)), name


@pytest.mark.parametrize("name", ["pytorchjob.yaml", "jobset.yaml"])
def test_pods_outlive_torchrun(name):
    text = (CLUSTERS / name).read_text(encoding="utf-8")
    (pod,) = re.findall(r"terminationGracePeriodSeconds: (\d+)", text)
    (torchrun,) = re.findall(r'TORCH_ELASTIC_SHUTDOWN_TIMEOUT\s+value: "(\d+)"', text)
    assert 30 < int(torchrun) < int(pod)


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_batch_script_is_bash():
    subprocess.run(["bash", "-n", CLUSTERS / "slurm.sbatch"], check=True)


def test_the_guides_input_fn_gives_a_processs_part_of_the_global_batch():
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    names = {"te": te, "x": np.zeros((192, 2), np.float32), "y": np.arange(192)}
    exec(code, names)
    seen = []
    for rank in range(2):
        features, labels = next(
            names["input_fn"]("train", te.RunConfig(random_seed=1), te.inputs.InputContext(2, rank, 2))
        )
        assert features["image"].shape == (48, 2)
        seen += labels.tolist()
    assert len(set(seen)) == 96
