"""Measures fastnn and its peers side by side in one run, and prints how they compare.

    python bench/compare.py [--rows NAME ...] [--seconds S] [--threads N] [--markdown FILE]
                            [--no-compile]

All contenders of a row start from the same weights, take the same batches and have the same
number of threads; their first losses (or outputs and gradients) are checked to agree before
anything is timed. They take turns, see timing.py. A ratio is the peer's time by fastnn's; of
PyTorch's ways (eager, fused update, torch.compile; on images NCHW and channels_last) the fastest
counts. A peer that is not installed leaves its column empty.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rows import Peers, Row
    from timing import Contender

# Freed memory is kept, so that a library that allocates its results at each step (PyTorch) does
# not fault the pages anew: to its advantage.
KEEP_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(2**32),
    "MALLOC_TRIM_THRESHOLD_": str(2**32),
    "MALLOC_TOP_PAD_": str(2**28),
}
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
PEAK_BAR = 0.75
HEADINGS = ("row", "fastnn", "peer", "its time", "ratio", "bar", "")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", nargs="+", metavar="NAME", help="parts of names of rows")
    parser.add_argument("--seconds", type=float, default=3.0, help="for each contender of a row")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--markdown", metavar="FILE", help="the table is written here too")
    parser.add_argument("--no-compile", action="store_true", help="PyTorch without torch.compile")
    return parser.parse_args()


def restart_with_environment(threads: int) -> None:
    """Runs this program anew unless memory and threads are set up, which is read at start."""
    wanted = {**KEEP_MEMORY, **{name: str(threads) for name in THREAD_VARIABLES}}
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **wanted})


def find_peers(threads: int, with_compile: bool) -> Peers:
    """The peers that can be imported; says which and which not."""
    from rows import ONNX, SKLEARN, TORCH, Peers

    found = {}
    for name, adapter in {
        TORCH: "peers_torch",
        SKLEARN: "peers_sklearn",
        ONNX: "peers_onnxruntime",
    }.items():
        try:
            module = importlib.import_module(adapter)
        except ImportError as error:
            print(f"note: no column for {name}: {error}")
            continue
        print(f"{name} {module.prepare(threads)}", flush=True)
        found[name] = module
    return Peers(found, with_compile)


def shown(seconds: float) -> str:
    """A time for the eye."""
    micro = seconds * 1e6
    return f"{micro:.2f} us" if micro < 1000 else f"{micro / 1000:.2f} ms"


def fastest(contenders: Iterable[Contender], name: str) -> Contender | None:
    """The best of a peer's ways."""
    ways = [contender for contender in contenders if contender.name == name]
    return min(ways, key=lambda contender: contender.median, default=None)


def lines_of(row: Row, contenders: Sequence[Contender]) -> list[tuple[str, ...]]:
    """A line for each peer: those with a bar, and those that were measured without one."""
    ours, measured = contenders[0].median, [contender.name for contender in contenders[1:]]
    lines = []
    for peer in dict.fromkeys([*row.bars, *measured]):
        bar, best = row.bars.get(peer), fastest(contenders, peer)
        limit = "" if bar is None else f"{bar:g}x"
        if best is None:
            lines.append((row.name, shown(ours), peer, "", "", limit, "absent"))
            continue
        ratio = best.median / ours
        verdict = "" if bar is None else "ok" if ratio >= bar else "SHORT"
        label = f"{peer} ({best.label})" if best.label else peer
        lines.append(
            (row.name, shown(ours), label, shown(best.median), f"{ratio:.2f}x", limit, verdict)
        )
    return lines


def ways_note(contenders: Sequence[Contender]) -> str:
    """The times of all of a row's contenders."""
    return "; ".join(
        f"{c.name}{f' ({c.label})' if c.label else ''} {shown(c.median)}" for c in contenders
    )


def peak_line(row: Row, peers: Peers, threads: int) -> tuple[str, ...]:
    """fastnn's share of the machine's peak in the matrix products of a training step."""
    import networks
    from peak import measure_peak
    from rows import TORCH

    network, torch = row.network, peers.get(TORCH)
    step = networks.training_step(network)
    step(*network.split()[0])
    program = step.programs.lowered.program
    names = program.kernel_names
    times = program.time_steps(50)
    seconds = sum(t for name, t in zip(names, times) if name.startswith("linear_")) / 1e9
    rates = measure_peak(threads, None if torch is None else torch.product)
    print("  peak: " + "; ".join(f"{name} {rate:.0f} GFLOP/s" for name, rate in rates.items()))
    best = max(rates, key=lambda name: rates[name])
    rate = network.product_flops() / seconds / 1e9
    share = rate / rates[best]
    return (
        f"{row.name} products",
        f"{rate:.0f} GFLOP/s",
        f"peak ({best})",
        f"{rates[best]:.0f} GFLOP/s",
        f"{share:.0%}",
        f"{PEAK_BAR:.0%}",
        "ok" if share >= PEAK_BAR else "SHORT",
    )


def measured_lines(row: Row, peers: Peers, options: argparse.Namespace) -> list[tuple[str, ...]]:
    """Measures a row."""
    from timing import measure

    print(f"{row.name} ...", flush=True)
    contenders = row.build(peers)
    measure(contenders, options.seconds)
    print(f"  {ways_note(contenders)}", flush=True)
    lines = lines_of(row, contenders)
    if row.network is not None:
        lines.append(peak_line(row, peers, options.threads))
    return lines


def as_table(lines: Sequence[tuple[str, ...]]) -> str:
    """Columns of even width, as Markdown."""
    table = [HEADINGS, *lines]
    widths = [max(len(line[i]) for line in table) for i in range(len(HEADINGS))]
    rule = ["-" * width for width in widths]
    padded = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |"
        for line in [HEADINGS, rule, *lines]
    ]
    return "\n".join(padded) + "\n"


def chosen(rows: list[Row], wanted: list[str] | None) -> list[Row]:
    """The rows of these names; a word that is no whole name stands for all that contain it."""
    names = {row.name for row in rows}

    def is_wanted(name: str) -> bool:
        return any(name == word if word in names else word in name for word in wanted or [""])

    found = [row for row in rows if is_wanted(row.name)]
    if not found:
        raise SystemExit("\n  ".join([f"no row is called {wanted}; there are", *sorted(names)]))
    return found


def main() -> None:
    """Measures and prints."""
    options = arguments()
    restart_with_environment(options.threads)
    sys.path.append(str(Path(__file__).resolve().parent.parent))  # where fastnn is built in place
    from image_rows import image_rows
    from rows import all_rows

    import fastnn

    rows = chosen([*all_rows(), *image_rows()], options.rows)
    fastnn.set_num_threads(options.threads)
    print(f"fastnn {fastnn.__version__}, {options.threads} threads", flush=True)
    print(f"load of the machine before: {os.getloadavg()[0]:.1f} (to be near 0)")
    peers = find_peers(options.threads, not options.no_compile)
    lines = []
    for row in rows:
        try:
            lines += measured_lines(row, peers, options)
        except Exception as error:
            print(f"  {row.name} failed: {type(error).__name__}: {error}", file=sys.stderr)
            lines.append((row.name, "", "", "", "", "", "FAILED"))
    table = as_table(lines)
    print("\n" + table)
    if options.markdown:
        Path(options.markdown).write_text(table)
    if any(line[-1] == "FAILED" for line in lines):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
