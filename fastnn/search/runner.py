"""Runner: gives tasks to workers, and takes the trials back in the order of their numbers.

Workers are threads of this process unless the user has an executor. Which worker a trial meets, and
what others do meanwhile, changes nothing about it; so there is nothing here but handing out,
writing down and giving up.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Any, Self

from fastnn._checks import whole
from fastnn.config import get_num_threads
from fastnn.search.journal import Journal
from fastnn.search.options import FoldOptions
from fastnn.search.study import PREPARED, Study, run_task
from fastnn.search.trial import Task, Trial

# Tasks that wait at an executor that does not say how many workers it has. Each carries the data.
WAITING_TASKS = 64


class Runner:
    """Runs tasks of a study; a context manager.

    Parameters
    ----------
    study : Study
    options : FoldOptions
        Its `executor` (None: threads of this process), `workers` (how many trials are under way at
        once; by default as many as a kernel may use threads, for an executor twice its workers) and
        `progress` (None shows it where the standard error is a terminal).
    journal : Journal or None
    total : int
        Trials of the whole search, for the progress bar.
    """

    def __init__(self, study: Study, options: FoldOptions, journal: Journal | None, total: int):
        executor, workers = options["executor"], options["workers"]
        self.study, self.journal = study, journal
        self.given_up = threading.Event()
        self.threads: ThreadPoolExecutor | None = None
        if executor is None:
            workers = get_num_threads() if workers is None else whole("workers", workers, 1)
            self.threads = ThreadPoolExecutor(workers, thread_name_prefix="fastnn-search")
            workers *= 2  # a task lies ready for each thread, which need not wait for this one
        elif not hasattr(executor, "submit"):
            raise TypeError(
                f"executor: got {type(executor).__name__}, expected a concurrent.futures.Executor"
            )
        elif workers is None:
            known = getattr(executor, "_max_workers", None)
            workers = 2 * known if isinstance(known, int) and known > 0 else WAITING_TASKS
        else:
            workers = whole("workers", workers, 1)
        self.executor, self.workers = executor, workers
        self.bar = TrialBar(total, study, options["progress"])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:
            self.given_up.set()
        if self.threads is not None:
            self.threads.shutdown(wait=True, cancel_futures=True)
        self.bar.close()
        if self.journal is not None:
            self.journal.close()
        PREPARED.forget(self.study)

    def submit(self, task: Task) -> Future:
        """Starts a trial somewhere."""
        if self.threads is not None:
            return self.threads.submit(self.study.run, task, self.given_up.is_set)
        assert self.executor is not None
        return self.executor.submit(run_task, self.study, task)

    def run(self, tasks: Iterable[Task]) -> list[Trial]:
        """The trials of tasks, in their order.

        An error in a trial is raised here; trials that had not ended are given up.
        """
        trials: dict[int, Trial] = {}
        waiting: list[tuple[int, Task]] = []
        for place, task in enumerate(tasks):
            known = None if self.journal is None else self.journal.find(task)
            if known is None:
                waiting.append((place, task))
            else:
                trials[place] = known
                self.bar.add(known)
        waiting.reverse()
        under_way: dict[Future, int] = {}
        try:
            while waiting or under_way:
                while waiting and len(under_way) < self.workers:
                    place, task = waiting.pop()
                    under_way[self.submit(task)] = place
                done, _ = wait(under_way, return_when=FIRST_COMPLETED)
                for future in sorted(done, key=under_way.__getitem__):
                    trial = future.result()
                    trials[under_way.pop(future)] = trial
                    if self.journal is not None:
                        self.journal.append(trial)
                    self.bar.add(trial)
        finally:
            for future in under_way:
                future.cancel()
        return [trials[place] for place in sorted(trials)]


class TrialBar:
    """A bar over the trials with the best score so far: on a terminal only."""

    def __init__(self, total: int, study: Study, show: bool | None):
        self.bar: Any = None
        self.best: float | None = None
        self.larger = study.metric.larger_is_better(study.y)
        self.name = study.metric.name
        if sys.stderr.isatty() if show is None else show:
            from tqdm.auto import tqdm

            self.bar = tqdm(
                total=total, unit=" trials", file=sys.stderr, dynamic_ncols=True, desc="search"
            )

    def say(self, notes: Iterable[str]) -> None:
        """Prints lines above the bar."""
        if self.bar is not None:
            for note in notes:
                self.bar.write(note, file=sys.stderr)

    def add(self, trial: Trial) -> None:
        """Counts a trial."""
        if self.bar is None:
            return
        if trial.score is not None:
            better = max if self.larger else min
            self.best = trial.score if self.best is None else better(self.best, trial.score)
            self.bar.set_postfix({f"best {self.name}": f"{self.best:.4f}"}, refresh=False)
        self.bar.update()

    def close(self) -> None:
        """Ends the line."""
        if self.bar is not None:
            self.bar.close()
