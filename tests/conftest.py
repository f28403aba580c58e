"""What tests share."""

import numpy as np
import pytest

import fastnn


@pytest.fixture
def rng():
    """A generator, with everything of fastnn seeded too."""
    fastnn.manual_seed(0)
    return np.random.default_rng(0)


@pytest.fixture(autouse=True)
def threads():
    """A test may change the number of threads; the next one finds it as it was."""
    before = fastnn.get_num_threads()
    yield
    fastnn.set_num_threads(before)
