"""A search on an executor, as a program of its own: which prints its result as JSON.

python search_executors.py dask
mpiexec -n 3 python -m mpi4py.futures search_executors.py mpi
"""

import json
import sys

from search_builds import search


def on_dask():
    from dask.distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
        client.get_executor() as executor,
    ):
        client.wait_for_workers(2)
        return search(executor=executor)


def on_mpi():
    from mpi4py.futures import MPIPoolExecutor

    with MPIPoolExecutor() as executor:
        assert executor.num_workers == 2
        return search(executor=executor)


def main():
    result = {"dask": on_dask, "mpi": on_mpi}[sys.argv[1]]()
    print(json.dumps(result.to_dict()))


if __name__ == "__main__":
    main()
