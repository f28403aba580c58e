"""What an installation is: imports, instruction sets, threads."""

import importlib
import pkgutil

import pytest
from children import SANITIZED, run

import fastnn
from fastnn._core import dispatch

PRECISIONS = ("float32", "float64")


def test_import_is_light():
    heavy = ["scipy", "matplotlib", "sklearn", "joblib", "torch", "tqdm"]
    result = run(f"import fastnn, sys; print([name for name in {heavy} if name in sys.modules])")
    assert result.stdout.strip() == "[]", result.stderr


@pytest.mark.skipif(SANITIZED, reason="sanitizers take their time")
def test_import_is_quick(tmp_path):
    code = (
        "import time, numpy; t = time.thread_time(); import fastnn; print(time.thread_time() - t)"
    )
    # Bytecode is kept, as it is of an installed package. The machine may be busy: processor time of
    # the thread that imports (BLAS's own may spin), and as many runs as it takes to find it idle.
    kept = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(tmp_path)}
    seconds = []
    while len(seconds) < 40 and min(seconds, default=1) >= 0.06:
        seconds.append(float(run(code, **kept).stdout))
    assert min(seconds) < 0.06


@pytest.mark.parametrize("level", dispatch.usable_levels())
def test_each_instruction_set_is_chosen(level):
    result = run("import fastnn; fastnn.show_config()", FASTNN_ISA=level)
    assert f"in use        {level}" in result.stdout, result.stderr


def test_unknown_instruction_set():
    result = run("import fastnn; fastnn.show_config()", FASTNN_ISA="v9")
    assert "FASTNN_ISA is 'v9', expected one of" in result.stderr


def constants_of_build(folder):
    """What the kernels of one build publish for the compiler: family -> name -> number."""
    package = importlib.import_module(f"fastnn._core.{folder}")
    names = [module.name for module in pkgutil.iter_modules(package.__path__)]
    modules = [importlib.import_module(f"{package.__name__}.{name}") for name in names]
    return {m.__name__.rpartition(".")[2]: getattr(m, "CONSTANTS", {}) for m in modules}


def test_kernels_publish_the_same_constants_in_every_build():
    folders = [f"{level}_{dtype}" for level in dispatch.usable_levels() for dtype in PRECISIONS]
    first, *others = map(constants_of_build, folders)
    assert first["conv_winograd"]["PRODUCTS"] == 36
    assert all(other == first for other in others)


def test_threads():
    fastnn.set_num_threads(3)
    assert fastnn.get_num_threads() == 3
    with fastnn.num_threads(1):
        assert fastnn.get_num_threads() == 1
        with fastnn.num_threads(2):
            assert fastnn.get_num_threads() == 2
        assert fastnn.get_num_threads() == 1
    assert fastnn.get_num_threads() == 3
