"""What an installation is: imports, instruction sets, threads."""

import pytest
from children import SANITIZED, run

import fastnn
from fastnn._core import dispatch


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
    # the thread that imports (BLAS's own may spin), and the shortest of some runs.
    kept = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(tmp_path)}
    assert min(float(run(code, **kept).stdout) for _ in range(10)) < 0.06


@pytest.mark.parametrize("level", dispatch.usable_levels())
def test_each_instruction_set_is_chosen(level):
    result = run("import fastnn; fastnn.show_config()", FASTNN_ISA=level)
    assert f"in use        {level}" in result.stdout, result.stderr


def test_unknown_instruction_set():
    result = run("import fastnn; fastnn.show_config()", FASTNN_ISA="v9")
    assert "FASTNN_ISA is 'v9', expected one of" in result.stderr


def test_threads():
    fastnn.set_num_threads(3)
    assert fastnn.get_num_threads() == 3
    with fastnn.num_threads(1):
        assert fastnn.get_num_threads() == 1
        with fastnn.num_threads(2):
            assert fastnn.get_num_threads() == 2
        assert fastnn.get_num_threads() == 1
    assert fastnn.get_num_threads() == 3
