"""Peak memory of the CIFAR VGG's training step, fastnn beside PyTorch.

    python bench/memory.py [--batch N] [--threads N] [--no-compile]

Each way trains some steps in a process of its own, which tells the largest resident set that it has
had, and how large it was once the library was imported (for a program of two libraries, what counts
is the difference). The allocator is left as the system has it.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

STEPS = 5
FASTNN = "fastnn"
MEGABYTE = 1e6


def resident_bytes() -> int:
    """What of this process lies in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def peak_bytes() -> int:
    """The most that this process has had in memory (Linux tells it in units of 1024 bytes)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def run_way(label: str, batch: int, threads: int) -> None:
    """Trains in this process; prints baseline and peak."""
    sys.path.append(str(Path(__file__).resolve().parent.parent))  # where fastnn is built in place
    import fastnn

    fastnn.set_num_threads(threads)
    if label != FASTNN:
        import peers_torch  # torch itself, with its threads set up

        peers_torch.prepare(threads)
        import peers_torch_images
    import image_networks
    import networks

    network = replace(image_networks.VGG, batch=batch, batches=1)
    baseline = resident_bytes()
    if label == FASTNN:
        step, batches = networks.training_step(network), network.split()
    else:
        layout, compiled = {
            name: (layout, compiled) for name, layout, compiled in peers_torch_images.ways(True)
        }[label]
        step = peers_torch_images.training_step(network, layout, compiled)
        batches = peers_torch_images.tensors(network.split(), layout)
    for _ in range(STEPS):
        step(*batches[0])
    print(baseline, peak_bytes())


def measured(label: str, options: argparse.Namespace) -> tuple[int, int]:
    """Baseline and peak of a way."""
    command = [sys.executable, __file__, "--way", label]
    command += ["--batch", str(options.batch), "--threads", str(options.threads)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    baseline, peak = result.stdout.split()
    return int(baseline), int(peak)


def main() -> None:
    """Measures every way and prints a table, in megabytes."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-compile", action="store_true", help="PyTorch without torch.compile")
    parser.add_argument("--way", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        run_way(options.way, options.batch, options.threads)
        return
    labels = [FASTNN, "NCHW", "channels_last"]
    if not options.no_compile:
        labels += ["compile, NCHW", "compile, channels_last"]
    print("| training step of the VGG | after import | peak | difference |")
    print("| ------------------------ | ------------ | ---- | ---------- |")
    for label in labels:
        name = label if label == FASTNN else f"PyTorch ({label})"
        try:
            baseline, peak = measured(label, options)
        except subprocess.CalledProcessError as error:
            print(f"| {name} | failed: {error.stderr.strip().splitlines()[-1:]} | | |")
            continue
        cells = [f"{size / MEGABYTE:.0f} MB" for size in (baseline, peak, peak - baseline)]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
