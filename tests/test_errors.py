"""What a user gets wrong, and what the message says."""

import copy
import pickle

import numpy as np
import pytest
from fastnn._core.external import External

import fastnn
from fastnn import nn, optim
from fastnn.nn import functional as F


@pytest.fixture
def model():
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


@pytest.fixture
def step(model):
    return fastnn.TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.1))


def step_with(**options):
    return fastnn.TrainingStep(nn.Linear(6, 3), nn.CrossEntropyLoss(), optim.SGD(), **options)


X = np.ones((4, 6), np.float32)
Y = np.array([0, 1, 2, 0])


@pytest.mark.parametrize(
    "x, y, error, message",
    [
        (np.ones((4, 5)), Y, ValueError, r"layer '0' \(linear\): got 5 input features.*expected 6"),
        (X, np.array([0, 1, 3, 0]), ValueError, r"target: label 3 at index 2 .* 0 <= label < 3"),
        (X, np.array([0, -1, 2, 0]), ValueError, r"label -1 at index 1"),
        (X, Y[:3], ValueError, r"target: got 3 examples, expected 4"),
        (X, Y.reshape(4, 1), ValueError, r"expected integer labels of shape \(batch,\)"),
        (X, Y * 0.5, TypeError, r"target: got dtype float64, expected integers"),
        (X.astype(complex), Y, TypeError, r"input: got dtype complex128, expected real numbers"),
        (np.array([["a"] * 6] * 4), Y, TypeError, r"input: got dtype <U1"),
        (np.ones((0, 6)), Y[:0], ValueError, r"input: got an empty batch"),
        (np.ones(6), Y, ValueError, r"expected \(batch, \.\.\., in\)"),
    ],
)
def test_bad_batches(step, x, y, error, message):
    with pytest.raises(error, match=message):
        step(x, y)


def test_a_bad_batch_changes_nothing(step):
    step(X, Y)
    before = step.model.state_dict()
    with pytest.raises(ValueError):
        step(X, np.array([0, 1, 99, 0]))
    for key, value in step.model.state_dict().items():
        np.testing.assert_array_equal(value, before[key])


def test_labels_changed_between_forward_and_backward(step):
    labels = Y.copy()
    step.forward(X, labels)
    labels[:] = 10**12
    step.backward()  # reads its own copy
    assert all(np.isfinite(p.grad).all() for p in step.model.parameters())


def test_epoch_errors(step):
    with pytest.raises(ValueError, match="got values from 0 to 9, expected 0 <= index < 4"):
        step.epoch(X, Y, np.array([0, 9]))
    with pytest.raises(ValueError, match="batch_size=0"):
        step.epoch(X, Y, batch_size=0)
    with pytest.raises(ValueError, match="label 7"):
        step.epoch(X, np.array([0, 1, 2, 7]))
    with pytest.raises(ValueError, match="empty data set"):
        step.epoch(X[:0], Y[:0])


def test_wrong_order(model):
    step = fastnn.TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.1))
    with pytest.raises(RuntimeError, match="backward"):
        step.backward()
    step.forward(X, Y)
    with pytest.raises(RuntimeError, match="update"):
        step.update()


def test_state_dict_errors(model):
    state = model.state_dict()
    weight = state.pop("0.weight")
    before = model.state_dict()
    with pytest.raises(ValueError, match=r"missing keys \['0.weight'\]"):
        model.load_state_dict(state)
    state["0.weight"] = weight[:, :5]
    state["2.bias"] = state["2.bias"] + 1
    with pytest.raises(ValueError, match=r"0.weight: got shape \(8, 5\), expected \(8, 6\)"):
        model.load_state_dict(state)
    state["0.weight"], state["more"] = weight, weight
    with pytest.raises(ValueError, match=r"unexpected keys \['more'\]"):
        model.load_state_dict(state)
    for key, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[key])
    model.load_state_dict(state, strict=False)


def test_construction_errors(model):
    with pytest.raises(ValueError, match="in_features=0"):
        nn.Linear(0, 3)
    with pytest.raises(ValueError, match="p=1.5"):
        nn.Dropout(1.5)
    with pytest.raises(ValueError, match="reduction 'average'"):
        nn.CrossEntropyLoss(reduction="average")
    with pytest.raises(ValueError, match="label_smoothing=1.5"):
        nn.functional.cross_entropy(np.zeros((1, 3)), np.array([0]), label_smoothing=1.5)
    with pytest.raises(ValueError, match="lr=-1"):
        optim.SGD(lr=-1)
    with pytest.raises(ValueError, match="Nesterov"):
        optim.SGD(lr=0.1, nesterov=True)
    with pytest.raises(TypeError, match="expected a fastnn.nn.Module"):
        fastnn.TrainingStep(lambda x: x, nn.CrossEntropyLoss(), optim.SGD())
    with pytest.raises(ValueError, match="one number"):
        fastnn.TrainingStep(model, nn.CrossEntropyLoss(reduction="none"), optim.SGD())(X, Y)
    with pytest.raises(ValueError, match="threads=0, expected a whole number from 1 to 1024"):
        fastnn.set_num_threads(0)
    with pytest.raises(TypeError, match="float16"):
        model.astype(np.float16)
    with pytest.raises(ValueError, match="not the model's"):
        fastnn.TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(nn.Linear(2, 2).parameters()))(
            X, Y
        )


def test_batch_of_one_in_batchnorm():
    model = nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3))
    with pytest.raises(ValueError, match="batch of 1"):
        model(X[:1])
    assert model.eval()(X[:1]).shape == (1, 3)


def test_control_flow_on_data():
    class Peeks(nn.Module):
        def forward(self, x):
            return x if x else -x

    with pytest.raises(TypeError, match="must not depend on data"):
        Peeks()(X)


def test_forward_must_return_values():
    class Wrong(nn.Module):
        def forward(self, x):
            return 3

    with pytest.raises(TypeError, match="forward returned int"):
        Wrong()(X)


def test_kinds_of_arrays(model, step):
    base = np.arange(48, dtype=np.float32).reshape(8, 6) / 50
    expected = model(base)
    wide = np.zeros((8, 12), np.float32)
    wide[:, ::2] = base
    read_only = base.copy()
    read_only.flags.writeable = False
    for array in (
        np.asfortranarray(base),
        wide[:, ::2],
        base[::-1].copy()[::-1],
        base.astype(">f4"),
        base.astype(np.float64),
        read_only,
    ):
        before = array.copy()
        np.testing.assert_array_equal(model(array), expected)
        np.testing.assert_array_equal(array, before)
        assert isinstance(step(array, np.arange(8) % 3), float)
        model.load_state_dict(model.state_dict())
        expected = model(base)


def test_copies_and_pickles(model):
    expected = model(X)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(twin(X), expected)
        twin[0].weight.data[...] = 0
    np.testing.assert_array_equal(model(X), expected)


def test_a_layer_in_two_trainings(rng):
    shared = nn.Linear(4, 4)
    one, two = nn.Sequential(shared, nn.Linear(4, 2)), nn.Sequential(shared, nn.Linear(4, 2))
    steps = [
        fastnn.TrainingStep(m, nn.CrossEntropyLoss(), optim.SGD(lr=0.1, momentum=0.9))
        for m in (one, two)
    ]
    x, y = rng.standard_normal((8, 4)), rng.integers(0, 2, 8)
    for _ in range(3):
        for step in steps:
            before = shared.weight.data.copy()
            step(x, y)
            assert (shared.weight.data != before).any()
    np.testing.assert_allclose(one(x), steps[0].model(x))


def test_indices_of_an_epoch(step):
    with pytest.raises(TypeError, match="indices: got dtype bool, expected integers"):
        step.epoch(X, Y, np.ones(4, bool))
    with pytest.raises(TypeError, match="indices: got dtype float64"):
        step.epoch(X, Y, np.arange(4.0))
    with pytest.raises(ValueError, match=r"indices: got shape \(1, 2\)"):
        step.epoch(X, Y, [[0, 1]])
    # Rows may be drawn more often than there are rows, in a batch larger than the data set.
    assert np.isfinite(step.epoch(X, Y, np.zeros(100, int), batch_size=64))


def test_inputs_that_are_no_batch(model, step):
    with pytest.raises(TypeError, match="got no input"):
        model()
    with pytest.raises(ValueError, match=r"make one of numbers an array by np.array"):
        model([[1.0] * 6, [2.0] * 6])
    for call in (
        lambda: nn.Tanh()(np.ones((3, 0))),
        lambda: fastnn.vjp(nn.ReLU(), np.ones((3, 0))),
    ):
        with pytest.raises(ValueError, match=r"\(3, 0\), expected examples that are not empty"):
            call()
    assert np.isfinite(step(X, Y))


def test_unaligned_arrays_are_copied(model):
    x = np.arange(24, dtype=np.float32).reshape(4, 6)
    unaligned = np.zeros(x.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(x.shape)
    unaligned[...] = x
    external = External("input", (6,), np.float32)
    assert not unaligned.flags.aligned and external.convert(unaligned).flags.aligned
    np.testing.assert_array_equal(model(unaligned), model(x))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: nn.MaxPool2d(0), "kernel_size=0"),
        (lambda: nn.MaxPool2d(2.5), "kernel_size=2.5"),
        (lambda: nn.MaxPool2d((2, 2, 2)), "kernel_size"),
        (lambda: nn.MaxPool2d(2, stride=0), "stride=0"),
        (lambda: nn.MaxPool2d(2, padding=2), "half of kernel_size=2"),
        (lambda: nn.AvgPool2d("2"), "kernel_size='2'"),
        (lambda: nn.AvgPool2d(2, divisor_override=0), "divisor_override=0"),
        (lambda: nn.AdaptiveAvgPool2d((1, 2, 3)), "output_size"),
        (lambda: nn.AdaptiveAvgPool2d(0), "output_size=0"),
        (lambda: nn.ZeroPad2d(-1), "padding=-1"),
        (lambda: nn.ZeroPad2d((1, 2)), "padding"),
        (lambda: nn.Upsample(scale_factor=1.5), "scale_factor=1.5"),
        (lambda: nn.Upsample(scale_factor=2, mode="bilinear"), "bilinear"),
        (lambda: nn.LocalResponseNorm(0), "size=0"),
    ],
)
def test_wrong_options_of_image_layers(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    "layer",
    [
        nn.MaxPool2d(2),
        nn.AvgPool2d(2),
        nn.AdaptiveAvgPool2d(1),
        nn.ZeroPad2d(1),
        nn.Upsample(scale_factor=2),
        nn.BatchNorm2d(3),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_what_is_no_image(layer):
    with pytest.raises(ValueError, match=r"\(batch, channels, height, width\)"):
        layer(np.zeros((2, 3), np.float32))
    with pytest.raises(ValueError, match=r"\(batch, channels, height, width\)"):
        nn.Sequential(layer)(np.zeros((2, 3, 4), np.float32))


ROWS, IMAGES = np.ones((2, 3), np.float32), np.ones((1, 1, 4, 4), np.float32)


@pytest.mark.parametrize(
    ("compute", "message"),
    [
        (lambda: F.conv2d(IMAGES, np.ones((1, 3, 3))), r"'conv2d'.* weight of shape \(1, 3, 3\)"),
        (lambda: F.conv2d(IMAGES, np.ones((1, 1, 0, 3))), r"weight of shape \(1, 1, 0, 3\)"),
        (lambda: F.conv2d(IMAGES, np.ones((0, 1, 3, 3))), r"weight of shape \(0, 1, 3, 3\)"),
        (lambda: F.linear(ROWS, np.ones(3)), r"weight of shape \(3,\), expected \(out, in\)"),
        (lambda: F.prelu(ROWS, 0.25), r"slopes of shape \(\), expected \(1,\)"),
        (lambda: F.maxout(ROWS, 0), "got pieces=0"),
        (lambda: F.maxout(ROWS, -1), "got pieces=-1"),
        (lambda: F.dropout(ROWS, p=3), "got p=3, expected 0 to 1"),
        (lambda: F.dropout(ROWS, p=-1, training=False), "got p=-1"),
        (lambda: F.dropout2d(IMAGES, p="half"), "got p='half'"),
        (lambda: F.batch_norm(ROWS, eps=-1.0), "got eps=-1.0, expected 0 or more"),
        (
            lambda: F.batch_norm(ROWS, *np.ones((2, 3), np.float32), training=True, momentum=None),
            "momentum=None without a count",
        ),
    ],
)
def test_wrong_arguments_of_functions(compute, message):
    with pytest.raises(ValueError, match=message):
        compute()


@pytest.mark.parametrize("missing", ["running_mean", "running_var"])
@pytest.mark.parametrize("training", [False, True])
def test_one_running_average_without_the_other(missing, training):
    model = nn.Sequential(nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3)).train(training)
    setattr(model[1], missing, None)
    with pytest.raises(ValueError, match="layer '1' .*expected both or neither"):
        model(IMAGES)


class Forgets(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(3, 2)

    def forward(self, x):
        self.body(x)


def test_a_forward_that_returns_nothing():
    step = fastnn.TrainingStep(Forgets(), nn.CrossEntropyLoss(), optim.SGD(lr=0.1))
    with pytest.raises(TypeError, match="does `forward` return what it computes"):
        step(ROWS, np.array([0, 1]))


@pytest.mark.parametrize("nothing", [None, "labels"])
def test_what_is_no_data(nothing):
    model = nn.Linear(3, 2)
    step = fastnn.TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.1))
    for call in (lambda: model(nothing), lambda: step(ROWS, nothing)):
        with pytest.raises(
            ValueError, match=f"got one {type(nothing).__name__}, expected an array"
        ):
            call()


@pytest.mark.parametrize(
    "build",
    [
        lambda: nn.MaxPool2d(2, 2, 0, 1, True),  # return_indices
        lambda: nn.Upsample(2),  # size
        lambda: nn.UpsamplingNearest2d(2),
        lambda: F.interpolate(IMAGES, 2),
    ],
)
def test_no_argument_stands_where_pytorch_has_another(build):
    with pytest.raises(TypeError, match="argument"):
        build()


def test_inplace_is_taken_where_pytorch_has_it():
    assert not list(nn.ELU(1.0, True).parameters())
    for function in (F.relu, F.leaky_relu, F.elu):
        np.testing.assert_array_equal(function(ROWS, inplace=True), ROWS)


def test_an_image_smaller_than_a_window():
    with pytest.raises(ValueError, match="got 2 pixels with 0 of padding, expected at least 3"):
        nn.MaxPool2d(3)(np.zeros((1, 1, 5, 2), np.float32))


class Computes(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: x if x > 0 else -x, "must not depend on data"),
        (lambda x: x[:, 0], "a traced value can't be indexed or cut"),
        (lambda x: x.mean(), "a traced value has no 'mean': F.adaptive_avg_pool2d"),
        (np.tanh, "numpy.tanh of a traced value: compute with"),
        (lambda x: np.ones(4) + x, "numpy.add of a traced value: compute with"),
        (lambda x: x + np.ones(4), "add: got ndarray, expected a traced value"),
        (lambda x: x if x == 0 else -x, "must not depend on data"),
        (lambda x: np.mean(x, axis=0), "numpy.mean of a traced value: compute with"),
        (lambda x: np.concatenate([x, x]), "numpy.concatenate of a traced value: compute with"),
        (lambda x: np.asarray(x), "a traced value is no array: compute with"),
        (lambda x: nn.functional.relu(len(x)), "a traced value has no length"),
    ],
)
def test_traced_values_are_no_arrays(function, message):
    with pytest.raises((TypeError, AttributeError), match=message):
        Computes(function)(np.ones((2, 4)))


def test_numbers_of_numpy_are_numbers():
    x = np.arange(8.0).reshape(2, 4)
    got = Computes(lambda v: np.float64(2) * (np.float32(1) - v + np.int64(3)) / np.float64(4))(x)
    np.testing.assert_allclose(got, 2 * (1 - x + 3) / 4)


def test_layers_that_the_model_does_not_know():
    class Hidden(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(4, 4)
            self.layers = [nn.Linear(4, 3)]

        def forward(self, x):
            return self.layers[0](self.first(x))

    step = fastnn.TrainingStep(Hidden(), nn.CrossEntropyLoss(), optim.SGD(lr=0.1))
    with pytest.raises(TypeError, match=r"parameter of shape \(3, 4\) that is no part"):
        step(np.ones((2, 4)), np.array([0, 1]))


def test_labels_beyond_64_bits_with_a_sign():
    loss = nn.CrossEntropyLoss(ignore_index=-100)
    scores, labels = np.zeros((3, 4)), np.array([0, 2**64 - 100, 2], np.uint64)
    with pytest.raises(ValueError, match="got 18446744073709551516, expected integers of 64 bits"):
        loss(scores, labels)
    trainer = fastnn.Trainer(nn.Linear(4, 4), loss, fastnn.optim.SGD(lr=0.1))
    with pytest.raises(ValueError, match="target: got 18446744073709551516, expected integers"):
        trainer.fit(scores, labels, epochs=1)
    labels[1] = 1
    assert loss(scores, labels) == loss(scores, labels.astype(np.int64))
    assert trainer.fit(scores, labels, epochs=1)["loss"] == [pytest.approx(np.log(4), rel=0.5)]


# -- what data may be --------------------------------------------------------------------------

MASKED = np.ma.array(X, mask=np.arange(24).reshape(4, 6) == 7)
MASKED_LABELS = np.ma.array(Y, mask=[False, True, False, False])


@pytest.mark.parametrize(
    "use",
    [
        lambda trainer: trainer.model(MASKED),
        lambda trainer: trainer.step(MASKED, Y),
        lambda trainer: trainer.step(X, MASKED_LABELS),
        lambda trainer: trainer.step.epoch(MASKED, Y),
        lambda trainer: trainer.step.measure(X, MASKED_LABELS),
        lambda trainer: trainer.fit(MASKED, Y, epochs=1),
        lambda trainer: trainer.fit([MASKED], Y, epochs=1),
        lambda trainer: trainer.fit(X, Y, epochs=1, validation_data=(X, MASKED_LABELS)),
        lambda trainer: trainer.evaluate(X, MASKED_LABELS),
        lambda trainer: trainer.predict(MASKED),
        lambda trainer: fastnn.vjp(trainer.model, MASKED),
        lambda trainer: fastnn.vjp(trainer.model, X)[1](MASKED[:, :3]),
        lambda trainer: fastnn.profile(trainer.model, trainer.loss, MASKED, Y),
        lambda trainer: fastnn.preprocessing.Standardize().fit(MASKED),
        lambda trainer: fastnn.preprocessing.Standardize().fit_transform(MASKED),
        lambda trainer: fastnn.preprocessing.Standardize().fit(X).transform(MASKED),
        lambda trainer: fastnn.datasets.train_test_split(MASKED, Y),
        lambda trainer: next(fastnn.datasets.batches(X, MASKED_LABELS)),
        lambda trainer: fastnn.diagnostics.preprocessing_check(MASKED),
        lambda trainer: fastnn.diagnostics.overfit_check(trainer.model, trainer.loss, MASKED, Y),
        lambda trainer: fastnn.search.cross_validate(len, {}, MASKED, Y),
    ],
)
def test_masked_arrays_are_refused(model, use):
    trainer = fastnn.Trainer(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.1))
    with pytest.raises(ValueError, match=r"masked array of shape .* 1 values? masked.*filled"):
        use(trainer)


def test_a_masked_array_without_anything_masked_is_an_array(model):
    np.testing.assert_array_equal(model(np.ma.array(X)), model(X))


def test_steps_take_lists(model, step):
    expected = fastnn.TrainingStep(copy.deepcopy(model), nn.CrossEntropyLoss(), optim.SGD(lr=0.1))
    lists = X.tolist(), Y.tolist()
    assert step(*lists) == expected(X, Y)
    assert step.forward(*lists) == expected.forward(X, Y)
    assert step.epoch(*lists) == expected.epoch(X, Y)
    assert step.measure(*lists) == expected.measure(X, Y)
    assert fastnn.profile(model, nn.CrossEntropyLoss(), *lists).batch_size == 4
    with pytest.raises(fastnn.TrainingDiverged, match="'input'"):
        step.epoch([[np.nan] * 6] * 4, lists[1])


def test_a_list_of_arrays_stays_several_inputs():
    class Sum(nn.Module):
        def forward(self, inputs):
            assert isinstance(inputs, list)
            return inputs[0] + inputs[1]

    step = fastnn.TrainingStep(Sum(), nn.MSELoss())
    assert step.forward([X, X], 2 * X) == 0.0


@pytest.mark.parametrize(
    "use", [lambda m: m(X), lambda m: list(m.parameters()), lambda m: m.train()]
)
def test_a_module_that_was_not_initialized_says_so(use):
    class Forgetful(nn.Module):
        def __init__(self):
            pass

        def forward(self, x):
            return x

    with pytest.raises(AttributeError, match=r"Forgetful is not init.*super\(\).__init__\(\)"):
        use(Forgetful())
    with pytest.raises(AttributeError, match="'Linear' object has no attribute 'wieght'"):
        _ = nn.Linear(2, 2).wieght


def test_a_layer_set_before_super_init():
    class Early(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(2, 2)

    with pytest.raises(AttributeError, match=r"Early.layer is set before super\(\).__init__\(\)"):
        Early()


def test_pullback_after_the_weights_have_changed(model):
    y, pullback = fastnn.vjp(model, X)
    model[0].weight.data[0, 0] += 1
    with pytest.raises(RuntimeError, match="parameter '0.weight' has changed"):
        pullback(y)


def test_pullback_after_the_parameters_have_moved(model):
    y, pullback = fastnn.vjp(model, X)
    fastnn.TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.0))(X, Y)
    with pytest.raises(RuntimeError, match="where they lie"):
        pullback(y)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: nn.functional.dropout(X, 2.0), "got p=2.0, expected 0 to 1"),
        (lambda: nn.functional.dropout(X, -1.0), "got p=-1.0, expected 0 to 1"),
        (lambda: nn.functional.dropout(X, np.nan), "got p=nan, expected 0 to 1"),
        (lambda: nn.functional.dropout2d(np.ones((1, 2, 2, 2)), 7), "got p=7, expected 0 to 1"),
        (lambda: nn.functional.cross_entropy(X, Y, label_smoothing=2), "got label_smoothing=2"),
        (lambda: nn.functional.maxout(X, 0), "got pieces=0, expected a whole number of 1"),
        (lambda: nn.functional.maxout(X, -1), "got pieces=-1, expected a whole number of 1"),
        (lambda: nn.functional.maxout(X, 4), r"layer 'maxout' \(maxout\): got 6 features"),
        (
            lambda: nn.functional.conv2d(np.ones((1, 2, 3, 3)), np.ones((2, 1, 1, 1)), groups=2.5),
            "got groups=2.5, expected a whole number",
        ),
        (lambda: nn.functional.batch_norm(X, eps=-1.0, training=True), "got eps=-1.0"),
        (lambda: nn.BatchNorm1d(6, eps=-1), "got eps=-1, expected 0 or more"),
        (lambda: nn.BatchNorm1d(6, momentum=5), "got momentum=5, expected 0 to 1"),
        (
            lambda: nn.Sequential(nn.Linear(6, 6), nn.BatchNorm2d(6))(X),
            r"layer '1' \(BatchNorm2d\): got shape \(batch, 6\), expected",
        ),
        (lambda: nn.Sequential(nn.Softmax(dim=0))(X), r"layer '0' \(softmax\): got dim=0 for"),
        (lambda: step_with(max_grad_norm="a"), "got max_grad_norm='a', expected a number above 0"),
        (lambda: step_with(max_grad_norm=np.nan), "got max_grad_norm=nan, expected a number"),
        (lambda: step_with(max_grad_norm=0), "got max_grad_norm=0, expected a number above 0"),
        (lambda: fastnn.gradient_check(nn.Tanh(), X, samples=0), "got samples=0, expected a whole"),
        (lambda: fastnn.gradient_check(nn.Tanh(), X, eps=0), "got eps=0, expected a number above"),
        (lambda: fastnn.gradient_check(nn.Tanh(), X, rtol=-1), "got rtol=-1, expected 0 or more"),
        (lambda: nn.Linear(6.0, 2), "Linear: got in_features=6.0, expected a whole number"),
    ],
)
def test_numbers_out_of_range(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_values_kept_from_an_earlier_forward():
    class Remembers(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.kept = nn.Linear(6, 6), None

        def forward(self, x):
            self.kept = self.layer(x) if self.kept is None else self.layer(x) + self.kept
            return self.kept

    module = Remembers()
    module(X)
    with pytest.raises(TypeError, match="a value of an earlier call of `forward`"):
        module(X)


def test_ignore_index_is_an_integer():
    with pytest.raises(TypeError, match="integer"):
        nn.CrossEntropyLoss(ignore_index=1.5)
