"""Arrays of every kind at every entrance: the right result, or an error that says what is wrong."""

import numpy as np
import pytest

import fastnn
from fastnn import datasets, diagnostics, nn, optim, preprocessing
from fastnn.nn import functional as F

X = np.random.default_rng(0).standard_normal((8, 6)).astype(np.float32)
Y = np.arange(8) % 3


def network():
    fastnn.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def trainer():
    return fastnn.Trainer(network(), nn.CrossEntropyLoss(), optim.SGD(lr=0.1))


def step():
    return fastnn.TrainingStep(network(), nn.CrossEntropyLoss(), optim.SGD(lr=0.1))


def loaded(values):
    layer = nn.Linear(6, 8, bias=False)
    layer.load_state_dict({"weight": values})
    return layer.weight.data


def assigned(values):
    parameter = nn.Parameter(np.zeros((8, 6), np.float32))
    parameter.data = values
    return parameter.data


def buffer(values):
    module = nn.Module()
    module.register_buffer("kept", values)
    return module.kept


OF_DATA = {
    "module": lambda x: network()(x),
    "eval": lambda x: network().eval()(x),
    "function": F.relu,
    "fit": lambda x: trainer().fit(x, Y, epochs=2, seed=0)["loss"],
    "validation": lambda x: trainer().fit(X, Y, 1, validation_data=(x, Y))["val_loss"],
    "predict": lambda x: trainer().predict_scores(x),
    "evaluate": lambda x: trainer().evaluate(x, Y)["loss"],
    "step": lambda x: step()(x, Y),
    "forward": lambda x: step().forward(x, Y),
    "epoch": lambda x: step().epoch(x, Y, batch_size=4),
    "measure": lambda x: step().measure(x, Y)[2],
    "vjp": lambda x: fastnn.vjp(network(), x)[0],
    "pullback": lambda x: fastnn.vjp(nn.Tanh(), X)[1](x),
    "gradient check": lambda x: bool(fastnn.gradient_check(nn.Linear(6, 2), x)),
    "profile": lambda x: fastnn.profile(network(), nn.CrossEntropyLoss(), x, Y).batch_size,
    "fit of a preprocessor": lambda x: preprocessing.Standardize().fit_transform(x),
    "transform": lambda x: preprocessing.Standardize().fit(X).transform(x),
}
OF_WEIGHTS = {
    "parameter": lambda x: nn.Parameter(x).data,
    "assigned": assigned,
    "state dict": loaded,
    "buffer": buffer,
    "weight": lambda x: F.linear(X, x),
    "class weights": lambda x: nn.BCEWithLogitsLoss(x).weight,
}
OTHERS = {
    "batches": lambda x: next(datasets.batches(x, batch_size=8, shuffle=False)),
    "split": lambda x: datasets.train_test_split(x, Y)[0],
}


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def unaligned(array):
    copy = np.zeros(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


SAME = {
    "by columns": np.asfortranarray,
    "strided": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "reversed": lambda x: np.ascontiguousarray(x[::-1, ::-1])[::-1, ::-1],
    "read-only": read_only,
    "big-endian": lambda x: x.astype(">f4"),
    "big-endian double": lambda x: x.astype(">f8"),
    "long double": lambda x: x.astype(np.longdouble),
    "unaligned": unaligned,
    "nothing masked": lambda x: np.ma.array(x),
}


@pytest.mark.parametrize("kind", SAME)
@pytest.mark.parametrize("entrance", [*OF_DATA, *OF_WEIGHTS, *OTHERS])
def test_layouts_and_byte_orders(entrance, kind):
    function = {**OF_DATA, **OF_WEIGHTS, **OTHERS}[entrance]
    given = SAME[kind](X)
    before = given.tobytes()
    result = np.asarray(function(given), np.float64)
    np.testing.assert_allclose(result, np.asarray(function(X), np.float64), rtol=2e-4, atol=1e-5)
    assert given.tobytes() == before


@pytest.mark.parametrize("dtype", [np.float16, bool, np.uint8, ">i2", np.uint64])
@pytest.mark.parametrize("entrance", [*OF_DATA, *OF_WEIGHTS])
def test_other_numbers(entrance, dtype):
    function = {**OF_DATA, **OF_WEIGHTS}[entrance]
    given = np.abs(3 * X).astype(dtype)
    result = np.asarray(function(given), np.float64)
    expected = np.asarray(function(given.astype(np.float32)), np.float64)
    np.testing.assert_allclose(result, expected, rtol=2e-3, atol=2e-3)


NO_REALS = {
    "complex": X.astype(complex),
    "objects": X.astype(object),
    "words": X.astype(str),
    "dates": np.zeros((8, 6), "M8[s]"),
    "records": np.zeros((8, 6), [("a", "f4")]),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", NO_REALS)
@pytest.mark.parametrize("entrance", [*OF_DATA, *OF_WEIGHTS])
def test_what_holds_no_real_numbers(entrance, kind):
    with pytest.raises((TypeError, ValueError), match=r"expected .*real|got dtype"):
        {**OF_DATA, **OF_WEIGHTS}[entrance](NO_REALS[kind])


@pytest.mark.parametrize("entrance", [*OF_DATA, *OF_WEIGHTS, *OTHERS])
def test_masked_arrays(entrance):
    with pytest.raises(ValueError, match=r"masked array of shape \(8, 6\) with \d+ values masked"):
        {**OF_DATA, **OF_WEIGHTS, **OTHERS}[entrance](np.ma.masked_less(X, 0))


NO_BATCH = {"a number": 3.0, "one NoneType": None, "one set": {1, 2}, "one str": "abc"}


@pytest.mark.parametrize("what", NO_BATCH)
@pytest.mark.parametrize(
    "entrance", sorted({*OF_DATA} - {"pullback", "transform", "fit of a preprocessor"})
)
def test_what_is_no_array(entrance, what):
    with pytest.raises(ValueError, match=f"got {what}, expected an array"):
        OF_DATA[entrance](NO_BATCH[what])


@pytest.mark.parametrize("entrance", ["fit", "predict", "step", "epoch", "transform", "evaluate"])
def test_lists_of_different_lengths(entrance):
    with pytest.raises(ValueError, match="lists or arrays of different lengths"):
        OF_DATA[entrance]([[1.0, 2.0], [3.0]])


def test_masked_numbers_elsewhere():
    masked = np.ma.masked_equal([1.0, 2.0, 3.0], 2.0)
    for take in (
        lambda: nn.CrossEntropyLoss(weight=masked),
        lambda: F.cross_entropy(X[:, :3], Y, weight=masked),
        lambda: datasets.Augment(mean=masked),
        lambda: step().epoch(X, Y, indices=np.ma.masked_equal([0, 1, 2], 1)),
        lambda: preprocessing.ZeroCenter().load_state_dict(
            {"mean_": masked, "n_samples_": 1, "feature_shape_": [3]}
        ),
    ):
        with pytest.raises(ValueError, match="masked"):
            take()


def test_pictures_of_values_that_lie_together():
    check = diagnostics.preprocessing_check(np.full((8, 6), 1e300))
    assert not check and check.data["histogram"][0].sum() == 48
    with pytest.raises(ValueError, match=r"got shape \(8, 0\), expected examples"):
        diagnostics.preprocessing_check(X[:, :0])
    model = network()
    model[0].bias.data[...] = 1e30
    assert not diagnostics.activation_statistics(model, nn.CrossEntropyLoss(), X, Y)
