"""Python threads that share modules and steps, child processes, and callbacks that call back."""

import multiprocessing
import os
import threading

import numpy as np
import pytest
from children import run

import fastnn
from fastnn import nn, optim


def in_threads(count, work):
    """Runs work(0), work(1), ... at once; raises what the first to fail raised."""
    errors = []

    def guarded(index):
        try:
            work(index)
        except BaseException as error:
            errors.append(error)

    workers = [threading.Thread(target=guarded, args=(i,)) for i in range(count)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=120)
        assert not worker.is_alive()
    if errors:
        raise errors[0]


def test_one_module_serves_many_threads(rng):
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10)).eval()
    X = rng.standard_normal((256, 64)).astype(np.float32)
    expected = model(X)

    def serve(index):
        sizes = np.random.default_rng(index).integers(1, 257, 300)
        for size in sizes:
            np.testing.assert_allclose(model(X[:size]), expected[:size], rtol=1e-4, atol=1e-5)

    in_threads(4, serve)


def test_one_step_takes_turns(rng):
    X, y = rng.standard_normal((64, 5)), rng.integers(0, 3, 64)
    step = fastnn.TrainingStep(nn.Linear(5, 3), nn.CrossEntropyLoss(), optim.SGD(lr=0.01))
    step(X, y)
    in_threads(3, lambda index: [step.epoch(X, y, batch_size=7) for _ in range(30)])
    assert step.optimizer.steps_taken[0] == 1 + 3 * 30 * 10


def test_a_callback_that_calls_its_own_step(rng):
    X, y = rng.standard_normal((64, 5)), rng.integers(0, 3, 64)
    step = fastnn.TrainingStep(nn.Linear(5, 3), nn.CrossEntropyLoss(), optim.SGD(lr=0.01))
    with pytest.raises(RuntimeError, match="callback called the step"):
        step.epoch(X, y, callback=lambda *figures: step.forward(X, y))
    assert np.isfinite(step(X, y))  # and it is free again


def test_limits_are_of_the_thread():
    def limited(index):
        with fastnn.num_threads(index + 1):
            for _ in range(100):
                assert fastnn.get_num_threads() == index + 1

    before = fastnn.get_num_threads()
    in_threads(3, limited)
    assert fastnn.get_num_threads() == before


FORKED = """
import os, threading, time, numpy as np, fastnn
from fastnn import nn, optim
fastnn.set_num_threads(2)
rng = np.random.default_rng(0)
X, y = rng.standard_normal((50_000, 100)), rng.integers(0, 3, 50_000)
model = nn.Sequential(nn.Linear(100, 200), nn.ReLU(), nn.Linear(200, 3))
step = fastnn.TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.01))
step(X[:64], y[:64])
"""

# The child trains with the step that it inherited.
TRAINING_CHILD = """
child = os.fork()
if child == 0:
    losses = [step.epoch(X[:640], y[:640]) for _ in range(20)]
    os._exit(0 if losses[-1] < losses[0] and fastnn.get_num_threads() == 1 else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""

# The parent forks while another of its threads is inside of an epoch of the same step.
BUSY_PARENT = """
busy = threading.Thread(target=lambda: [step.epoch(X, y) for _ in range(3)])
busy.start()
time.sleep(0.05)
child = os.fork()
if child == 0:
    loss = step.epoch(X[:640], y[:640])
    os._exit(0 if np.isfinite(loss) else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
busy.join()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize("story", [TRAINING_CHILD, BUSY_PARENT])
def test_a_forked_child_trains(story):
    result = run(FORKED + story)
    assert result.stdout.strip() == "0", result.stderr


def trained_loss(model, X, y):
    step = fastnn.TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.1))
    return step.epoch(X, y), fastnn.get_num_threads()


def pool_agrees(method):
    """Two processes train the same model; both get what this one gets."""
    fastnn.manual_seed(0)
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((64, 5)), rng.integers(0, 3, 64)
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))
    model(X)
    with multiprocessing.get_context(method).Pool(2) as pool:
        results = pool.starmap(trained_loss, [(model, X, y)] * 4, chunksize=1)
    expected = trained_loss(model, X, y)[0]
    threads = {count for _, count in results}
    return all(loss == expected for loss, _ in results) and (method != "fork" or threads == {1})


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_process_pools(method):
    folder = os.path.dirname(__file__)
    result = run(
        f"import sys; sys.path.insert(0, {folder!r}); import test_threads\n"
        f"print(test_threads.pool_agrees({method!r}))"
    )
    assert result.stdout.strip() == "True", result.stderr
