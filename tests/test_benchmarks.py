"""The benchmarks still run: each row's own contender, once, without its peers."""

import importlib
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parent.parent / "bench"
# Too large to be built for a look.
LARGE = ("alexnet", "resnet18", "4194304")

pytestmark = pytest.mark.skipif(not BENCH.is_dir(), reason="the benchmarks are not here")


@pytest.fixture
def load(monkeypatch):
    """Imports from the benchmarks' folder, and forgets what was imported."""
    monkeypatch.syspath_prepend(BENCH)
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(BENCH)):
            del sys.modules[name]


@pytest.mark.parametrize(
    ("module", "function"), [("rows", "all_rows"), ("image_rows", "image_rows")]
)
def test_rows(load, module, function):
    peers = load("rows").Peers({})
    rows = getattr(load(module), function)()
    for row in rows:
        if not any(word in row.name for word in LARGE):
            (contender,) = row.build(peers)
            assert contender.name == "fastnn"
            contender.run()


@pytest.mark.parametrize("module", ["inference", "layers", "training"])
def test_asv_suite(load, module):
    suite = load(f"benchmarks.{module}")
    classes = [c for c in vars(suite).values() if getattr(c, "__module__", "") == suite.__name__]
    kinds = [c for c in classes if isinstance(c, type)]
    assert kinds
    for kind in kinds:
        choices = getattr(kind, "params", None) or []
        several = choices and isinstance(choices[0], (list, tuple))
        chosen = [choice[0] for choice in choices] if several else choices[:1]
        benchmark = kind()
        benchmark.setup(*chosen)
        for name in vars(kind):
            if name.startswith("time_"):
                getattr(benchmark, name)(*chosen)
