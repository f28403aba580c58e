"""A step allocates nothing: counted by a hook in malloc itself."""

import shutil
import subprocess
import sys

import pytest
from children import SANITIZED, run

HOOK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdatomic.h>
#include <stddef.h>
#include <errno.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>
static atomic_long count;
extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
void *malloc(size_t n) { count++; return __libc_malloc(n); }
void *calloc(size_t n, size_t m) { count++; return __libc_calloc(n, m); }
void *realloc(void *p, size_t n) { count++; return __libc_realloc(p, n); }
void *aligned_alloc(size_t a, size_t n) { count++; return __libc_memalign(a, n); }
void *memalign(size_t a, size_t n) { count++; return __libc_memalign(a, n); }
void *mmap(void *at, size_t n, int protection, int flags, int file, off_t offset) {
  count++;
  return (void *)syscall(SYS_mmap, at, n, protection, flags, file, offset);
}
int posix_memalign(void **p, size_t a, size_t n) {
  count++;
  *p = __libc_memalign(a, n);
  return *p ? 0 : ENOMEM;
}
long allocations(void) { return count; }
"""

MEASURED = """
import ctypes, numpy as np, fastnn
from fastnn import nn, optim

allocations = ctypes.CDLL(None).allocations
allocations.restype = ctypes.c_long
fastnn.set_num_threads(2)
rng = np.random.default_rng(0)
X = rng.standard_normal((64 * 200, 300)).astype("f")
y = rng.integers(0, 10, len(X))
before = allocations()
np.empty(100_000)
assert allocations() > before, "the hook sees nothing"

def measure(step, X, target, batch_size=64):
    def allocated(batches):
        indices = np.arange(batch_size * batches)
        before = allocations()
        step.epoch(X, target[:len(X)], indices, batch_size=batch_size)
        return allocations() - before

    for batches in (1, 2, 101):
        allocated(batches)
    # Snapshots and looks at signals allocate a little, 30 times a second: so the least of many.
    print(min(allocated(1) for _ in range(20)), min(allocated(101) for _ in range(20)))

# Small and large operators, so that some run on one thread and some on two.
def network():
    return nn.Sequential(
        nn.Linear(300, 300), nn.BatchNorm1d(300), nn.ReLU(), nn.Dropout(0.5), nn.Maxout(300, 50),
        nn.PReLU(50), nn.Linear(50, 20), nn.BatchNorm1d(20), nn.ELU(learnable=True), nn.PReLU(),
        nn.Linear(20, 10), LAST,
    )

LAST = nn.Identity()
sides = (X[:, :10] > 0).astype("f")
for loss, target in (
    (nn.CrossEntropyLoss(), y), (nn.MultiMarginLoss(), y), (nn.MSELoss(), sides),
    (nn.BCEWithLogitsLoss(), sides),
):
    LAST = nn.Softmax() if isinstance(loss, nn.MSELoss) else nn.LogSoftmax()
    step = fastnn.TrainingStep(
        network(), loss, optim.SGD(lr=0.01, momentum=0.9), max_grad_norm=1.0
    )

    measure(step, X, target)

images = rng.standard_normal((8 * 101, 3, 13, 13)).astype("f")
for channels in (2, 32):  # steps on one thread, and on two
    step = fastnn.TrainingStep(
        nn.Sequential(
            nn.ZeroPad2d(1), nn.Conv2d(3, channels, 3), nn.LocalResponseNorm(3), nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels), nn.BatchNorm2d(channels),
            nn.MaxPool2d(2), nn.Dropout2d(0.2), nn.Conv2d(channels, channels, 3, padding=1),
            nn.Conv2d(channels, 10, 1), nn.AvgPool2d(2), nn.Upsample(scale_factor=2),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        ),
        nn.CrossEntropyLoss(), optim.SGD(lr=0.01, momentum=0.9),
    )
    measure(step, images, y, batch_size=8)
"""


@pytest.mark.skipif(SANITIZED, reason="the sanitizer has a hook in malloc already")
@pytest.mark.skipif(sys.platform != "linux", reason="the hook is for the GNU C library")
def test_steps_do_not_allocate(tmp_path):
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no C compiler to build the hook")
    source, library = tmp_path / "hook.c", tmp_path / "hook.so"
    source.write_text(HOOK)
    built = subprocess.run(
        [compiler, "-O1", "-shared", "-fPIC", str(source), "-o", str(library)], capture_output=True
    )
    if built.returncode:
        pytest.skip("the hook does not build here: another C library")
    result = run(MEASURED, LD_PRELOAD=str(library), PYTHONMALLOC="malloc")
    assert result.returncode == 0, result.stderr
    for line in result.stdout.splitlines():
        few, many = map(int, line.split())
        # A look at signals in between allocates a little, and the interpreter now and then a dozen
        # objects: less than once in two steps.
        assert many - few < 50, f"1 step: {few} allocations, 101 steps: {many}"
    assert len(result.stdout.splitlines()) == 6
