"""A search gives the same result on threads, processes, Dask and MPI."""

import importlib.util
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest
from children import SANITIZED, environment
from search_builds import search

import fastnn

HERE = Path(__file__).parent

if SANITIZED:
    pytest.skip("other processes take too long in a debug build", allow_module_level=True)


@pytest.fixture(scope="module")
def expected():
    """The result of one thread, as plain data."""
    return json.loads(json.dumps(search(workers=1).to_dict()))


def plain(result):
    return json.loads(json.dumps(result.to_dict()))


def test_there_is_something_to_compare(expected):
    statuses = [trial["status"] for trial in expected["trials"]]
    assert statuses.count("diverged") >= 1 and statuses.count("finished") >= 4


@pytest.mark.parametrize("workers", [None, 2, 5])
def test_threads(expected, workers):
    assert plain(search(workers=workers)) == expected


def test_a_thread_pool_of_the_user(expected):
    with ThreadPoolExecutor(3) as executor:
        assert plain(search(executor=executor)) == expected


class AtOnce(Executor):
    """Runs everything in the calling thread."""

    def submit(self, function, *arguments, **options):
        future = Future()
        future.set_result(function(*arguments, **options))
        return future


def test_any_executor_and_any_number_of_kernel_threads(expected):
    for threads in (1, 2):
        with fastnn.num_threads(threads):
            assert plain(search(executor=AtOnce())) == expected
            assert fastnn.get_num_threads() == threads


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_processes(expected, method):
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(2, mp_context=context) as executor:
        assert plain(search(executor=executor)) == expected


def run(command, **variables):
    paths = os.pathsep.join([environment()["PYTHONPATH"], str(HERE)])
    done = subprocess.run(
        command,
        env=environment(PYTHONPATH=paths, **variables),
        cwd="/",
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.skipif(
    importlib.util.find_spec("distributed") is None, reason="dask[distributed] is not installed"
)
def test_dask_with_two_worker_processes(expected):
    program = str(HERE / "search_executors.py")
    assert run([sys.executable, "-P", program, "dask"]) == expected


def mpi_is_absent():
    if importlib.util.find_spec("mpi4py") is None:
        return "mpi4py is not installed"
    return None if shutil.which("mpiexec") else "there is no mpiexec"


@pytest.mark.skipif(mpi_is_absent() is not None, reason=str(mpi_is_absent()))
def test_mpi_with_two_workers(expected):
    program = str(HERE / "search_executors.py")
    # Open MPI refuses to run as root, and more processes than processors, unless told.
    allowed = {
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "OMPI_MCA_rmaps_base_oversubscribe": "1",
        "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    }
    command = ["mpiexec", "-n", "3", sys.executable, "-m", "mpi4py.futures", program, "mpi"]
    assert run(command, **allowed) == expected
