"""The ready-made networks: shapes, sizes, arguments."""

import numpy as np
import pytest

import fastnn
from fastnn import models, nn, optim


def parameters_of(model):
    return sum(parameter.data.size for parameter in model.parameters())


@pytest.mark.parametrize(
    ("depth", "parameters"), [(20, 269722), (32, 464154), (44, 658586), (56, 853018)]
)
def test_resnets_of_cifar(depth, parameters):
    """He et al. tell 0.27, 0.46, 0.66 and 0.85 million; option A has no parameters."""
    model = models.resnet(depth)
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) + 1 == depth
    assert parameters_of(model) == parameters


def test_shortcuts():
    assert parameters_of(models.resnet(20, shortcut="B")) == 269722 + 16 * 32 + 32 * 64 + 2 * 96
    block = models.resnet(8).layer2[0]
    x = np.random.default_rng(0).standard_normal((2, 16, 7, 6)).astype(np.float32)

    class Shortcut(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = block

        def forward(self, x):
            return self.block.shortcut(x)

    passed = Shortcut().eval()(x)
    np.testing.assert_array_equal(passed[:, :16], x[:, :, ::2, ::2])
    assert not passed[:, 16:].any() and passed.shape == (2, 32, 4, 3)


@pytest.mark.parametrize("name", ["vgg11", "vgg13", "vgg16", "vgg19"])
def test_depths_of_vgg(name):
    model = models.vgg(name, hidden=(8, 8))
    layers = [m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    assert len(layers) == int(name.removeprefix("vgg"))


SMALL = {
    "mlp": lambda: models.mlp([48, 9, 8, 3], activation=nn.Tanh, batch_norm=True, dropout=0.1),
    "lenet5": lambda: models.lenet5(3, image_size=(16, 20), channels=2),
    "alexnet": lambda: models.alexnet(3, width=0.05, image_size=32),
    "alexnet at its smallest": lambda: models.alexnet(3, width=0.02, image_size=15),
    "alexnet 64": lambda: models.alexnet(3, width=0.05, image_size=64),
    "vgg": lambda: models.vgg([4, "pool", 7, 7, "pool"], image_size=8, num_classes=3, hidden=[5]),
    "vgg without hidden": lambda: models.vgg([4, "pool"], False, 3, 8, hidden=()),
    "vgg11": lambda: models.vgg("vgg11", num_classes=3, image_size=32, hidden=(16,)),
    "resnet": lambda: models.resnet(8, num_classes=3),
    "resnet with projections": lambda: models.resnet(8, num_classes=3, shortcut="B"),
    "resnet18": lambda: models.resnet18(num_classes=3),
}
INPUTS = {
    "mlp": (48,),
    "lenet5": (2, 16, 20),
    "alexnet": (3, 32, 32),
    "alexnet at its smallest": (3, 15, 15),
    "alexnet 64": (3, 64, 64),
    "vgg": (3, 8, 8),
    "vgg without hidden": (3, 8, 8),
    "vgg11": (3, 32, 32),
    "resnet": (3, 9, 12),
    "resnet with projections": (3, 9, 12),
    "resnet18": (3, 33, 40),
}


@pytest.mark.parametrize("name", SMALL)
def test_training_learns_a_batch(name):
    fastnn.manual_seed(0)
    model = SMALL[name]()
    rng = np.random.default_rng(0)
    x = rng.standard_normal((6, *INPUTS[name])).astype(np.float32)
    y = np.arange(6) % 3
    assert model(x).shape == (6, 3)
    step = fastnn.TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.01, momentum=0.9))
    losses = [step(x, y) for _ in range(12)]
    assert np.isfinite(losses).all() and min(losses[6:]) < losses[0]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: models.mlp([5]), "widths"),
        (lambda: models.mlp([5, 0]), "width=0"),
        (lambda: models.mlp(5), "widths=5"),
        (lambda: models.lenet5(image_size=15), "image_size=15"),
        (lambda: models.alexnet(image_size=14), "image_size=14"),
        (lambda: models.alexnet(image_size=(32, 32)), r"image_size=\(32, 32\)"),
        (lambda: models.alexnet(width=0), "width=0"),
        (lambda: models.alexnet(width="1"), "width='1'"),
        (lambda: models.vgg("vgg12"), "vgg12"),
        (lambda: models.vgg([4, "poll"]), "poll"),
        (lambda: models.vgg("vgg11", image_size=16, hidden=()), "5 pools"),
        (lambda: models.vgg("cifar", image_size=(32, 32)), r"image_size=\(32, 32\)"),
        (lambda: models.resnet(21), "depth=21"),
        (lambda: models.resnet("20"), "depth='20'"),
        (lambda: models.resnet(shortcut="C"), "shortcut='C'"),
    ],
)
def test_arguments_are_checked(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: models.mlp([5, 4, 3], activation=nn.ReLU()), r"activation=ReLU\(\)"),
        (lambda: models.mlp([5, 4, 3], activation="relu"), "activation='relu'"),
        (lambda: models.vgg(16), "configuration=16"),
        (lambda: models.vgg("cifar", hidden=256), "hidden=256"),
    ],
)
def test_what_is_no_list_and_no_class(build, message):
    with pytest.raises(TypeError, match=message):
        build()


def test_whole_floats_serve_as_sizes():
    assert models.alexnet(10, 0.05, 32.0, 3).avgpool.output_size == 3
    assert len(models.resnet(8.0).layer1) == 1
