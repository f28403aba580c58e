"""The examples that need data train for an epoch, where the data is."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn import models

pytest.importorskip("matplotlib", reason="the examples draw curves with matplotlib")

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"
MNIST, CIFAR10 = SHARED / "mnist", SHARED / "cifar-10-batches-bin"


def run(script, output, *arguments):
    """Runs an example with the fastnn that is tested, on one thread; returns what it printed."""
    where = str(Path(fastnn.__file__).parents[1])
    finished = subprocess.run(
        [sys.executable, str(ROOT / "examples" / script), "--output", str(output), *arguments],
        env={**os.environ, "PYTHONPATH": where, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert (output / "curves.png").stat().st_size > 1000
    return finished.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "0"], "--epochs: expected 1 or more"),
        (["--output", __file__], "FileExistsError"),
    ],
)
@pytest.mark.parametrize("script", ["train_digits.py", "train_mnist.py", "train_cifar10.py"])
def test_wrong_arguments_are_found_before_the_training(script, arguments, message):
    data = [] if script == "train_digits.py" else ["--data", str(ROOT)]
    finished = subprocess.run(
        [sys.executable, str(ROOT / "examples" / script), *data, *arguments],
        env={**os.environ, "PYTHONPATH": str(Path(fastnn.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode != 0 and message in finished.stderr
    assert "Linear" not in finished.stdout  # no summary yet


def accuracy_in(printed):
    return float(printed.partition("accuracy ")[2].split()[0].rstrip(","))


@pytest.mark.skipif(not MNIST.is_dir(), reason=f"no MNIST in {MNIST}")
@pytest.mark.parametrize("name", ["mlp", "lenet5"])
def test_mnist(name, tmp_path):
    printed = run(
        "train_mnist.py", tmp_path, "--data", str(MNIST), "--model", name, "--epochs", "1"
    )
    assert accuracy_in(printed) > 0.9


@pytest.mark.skipif(not CIFAR10.is_dir(), reason=f"no CIFAR-10 in {CIFAR10}")
def test_cifar10(tmp_path):
    """One epoch is above chance; the weights that it saved are a network's."""
    printed = run("train_cifar10.py", tmp_path, "--data", str(CIFAR10), "--epochs", "1")
    assert accuracy_in(printed) > 0.15
    with np.load(tmp_path / "weights.npz") as weights:
        models.vgg("cifar").load_state_dict(dict(weights))
