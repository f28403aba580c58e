"""A search that is killed goes on where it was, and ends as if it had not been."""

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from children import COMMAND, environment
from search_builds import SPACE, build, journalled, search, small_digits

import fastnn
from fastnn import nn, optim

KINDS = ["random_search", "grid_search", "coarse_to_fine", "halving"]


def run_quietly(kind, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fastnn.search.RangeWarning)
        return journalled(kind, path)


def kill_after(kind, path, trials):
    """Runs a search in another process until the journal has some trials, then kills it."""
    paths = os.pathsep.join([environment()["PYTHONPATH"], str(Path(__file__).parent)])
    child = subprocess.Popen(
        [*COMMAND, f"import search_builds; search_builds.journalled({kind!r}, {str(path)!r})"],
        env=environment(PYTHONPATH=paths, SEARCH_TEST_DELAY="0.1"),
        stderr=subprocess.PIPE,
    )
    try:
        end = time.monotonic() + 60
        while not path.exists() or path.read_bytes().count(b"\n") < trials + 1:
            assert child.poll() is None, child.stderr.read().decode()
            assert time.monotonic() < end
            time.sleep(0.005)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stderr.close()
    assert child.returncode == -signal.SIGKILL


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
@pytest.mark.parametrize("kind", KINDS)
def test_killed_and_started_again(kind, tmp_path):
    expected = run_quietly(kind, None)
    path = tmp_path / "journal.jsonl"
    total = len(expected.trials)
    for trials in (3, total - 4):  # killed twice
        kill_after(kind, path, trials)
        assert 0 < path.read_bytes().count(b"\n") - 1 < total
    result = run_quietly(kind, path)
    assert result.trials == expected.trials
    assert result.to_dict() == expected.to_dict()
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert len({(row["number"], row["stage"]) for row in rows[1:]}) == len(rows) - 1 == total


def test_a_line_cut_off(tmp_path):
    path = tmp_path / "journal.jsonl"
    expected = search(journal=path)
    whole = path.read_bytes()
    for end in (len(whole) - 1, len(whole) - 40, whole.index(b"\n") + 1, whole.index(b"\n") - 5, 0):
        path.write_bytes(whole[:end])
        assert search(journal=path) == expected
        assert sorted(map(len, path.read_bytes().splitlines())) != []
        assert path.read_bytes().count(b"\n") == 9


def test_finished_trials_are_not_run_again(tmp_path):
    path = tmp_path / "journal.jsonl"
    ran = []

    def counted(params):
        ran.append(params)
        return build(params)

    X, y = small_digits()
    options = {"epochs": 1, "validation": 0.25, "journal": path}
    first = fastnn.search.random_search(counted, SPACE, X, y, 4, **options)
    assert len(ran) == 4
    again = fastnn.search.random_search(counted, SPACE, X, y, 4, **options)
    assert len(ran) == 4 and again == first
    assert [a.seconds for a in again.trials] == [b.seconds for b in first.trials]
    # More trials of the same search are only the new ones.
    more = fastnn.search.random_search(counted, SPACE, X, y, 6, **options)
    assert len(ran) == 6 and more.trials[:4] == first.trials


def test_hyperparameters_that_json_does_not_know(tmp_path):
    def with_activation(params):
        model = nn.Sequential(nn.Linear(64, 8), params["activation"](), nn.Linear(8, 10))
        return model, nn.CrossEntropyLoss(), optim.SGD(lr=0.1)

    X, y = small_digits()
    arguments = with_activation, {"activation": [nn.ReLU, nn.Tanh], "size": [np.int64(3)]}, X, y
    options = {"n_trials": 3, "epochs": 1, "journal": tmp_path / "journal.jsonl"}
    first = fastnn.search.random_search(*arguments, **options)
    again = fastnn.search.random_search(*arguments, **options)
    assert again == first and again.trials[0].params["activation"] in (nn.ReLU, nn.Tanh)


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"seed": 6}, "of another search: seed 5 there, 6 here"),
        ({"epochs": 4}, "epochs 3 there, 4 here"),
        ({"batch_size": 16}, "batch_size 32 there, 16 here"),
        ({"cv": 4}, "splits .* there, .* here"),
        ({"preprocessing": None}, "preprocessing 'Standardize.* there, 'None' here"),
        ({"halving": True}, "halving None there, 'SuccessiveHalving"),
    ],
)
def test_the_journal_of_another_search(tmp_path, changed, message):
    path = tmp_path / "journal.jsonl"
    search(n_trials=1, journal=path)
    content = path.read_bytes()
    with pytest.raises(ValueError, match=message):
        search(n_trials=1, journal=path, **changed)
    assert path.read_bytes() == content


@pytest.mark.parametrize("content", ["some text\n", "[1]\n", "precious text", "\n\n"])
def test_no_journal(tmp_path, content):
    path = tmp_path / "journal.jsonl"
    path.write_text(content)
    with pytest.raises(ValueError, match="expected a"):
        search(n_trials=1, journal=path)
    assert path.read_text() == content


@pytest.mark.parametrize("line", ["{}", '{"number": 0, "params": {}}'])
def test_a_line_that_is_no_trial(line, tmp_path):
    path = tmp_path / "journal.jsonl"
    search(n_trials=1, journal=path)
    with open(path, "a", encoding="utf-8") as file:
        file.write(line + "\n")
    with pytest.raises(ValueError, match="expected a trial a line, got one without .*'epochs'"):
        search(n_trials=1, journal=path)


def test_an_edited_build_is_another_search(tmp_path):
    """The scores in the file would be those of another network."""
    functions = []
    for hidden in (8, 9, 8):
        text = f"def build(params):\n    return network(params, {hidden})"
        names = {"network": small_network}
        exec(compile(text, f"file {len(functions)}", "exec"), names)
        functions.append(names["build"])
    first, edited, moved = functions
    X, y = small_digits()
    options = {"validation": 0.2, "journal": tmp_path / "journal", "n_trials": 2, "epochs": 1}
    result = fastnn.search.random_search(first, SPACE, X, y, **options)
    again = fastnn.search.random_search(moved, SPACE, X, y, **options)
    assert [trial.score for trial in again.trials] == [trial.score for trial in result.trials]
    with pytest.raises(ValueError, match="another search: build 'build .*' there, 'build .*' here"):
        fastnn.search.random_search(edited, SPACE, X, y, **options)


def small_network(params, hidden):
    model = nn.Sequential(nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, 10))
    return model, nn.CrossEntropyLoss(), optim.SGD(lr=params["lr"])
