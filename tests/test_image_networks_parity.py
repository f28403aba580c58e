"""Networks of images learn as PyTorch's do: the same weights and batches give the same losses."""

import numpy as np
import pytest

import fastnn
from fastnn import models, nn, optim

torch = pytest.importorskip("torch", reason="parity is measured against PyTorch, which is absent")

STEPS, BATCH, CLASSES = 30, 32, 5
OPTIONS = {"lr": 0.002, "momentum": 0.9, "weight_decay": 1e-4}


def their_lenet():
    layers = torch.nn
    return layers.Sequential(
        layers.Conv2d(1, 20, 5),
        layers.MaxPool2d(2),
        layers.Conv2d(20, 50, 5),
        layers.MaxPool2d(2),
        layers.Flatten(),
        layers.Linear(50 * 4, 500),
        layers.ReLU(),
        layers.Linear(500, CLASSES),
    )


class TheirVGG(torch.nn.Module):
    def __init__(self):
        super().__init__()
        layers = torch.nn
        features, channels = [], 3
        for maps in (16, 16, "pool", 24, 24, "pool"):
            if maps == "pool":
                features.append(layers.MaxPool2d(2))
                continue
            features += [layers.Conv2d(channels, maps, 3, padding=1)]
            features += [layers.BatchNorm2d(maps), layers.ReLU()]
            channels = maps
        self.features = layers.Sequential(*features)
        self.classifier = layers.Sequential(
            layers.Linear(24 * 9, 32), layers.ReLU(), layers.Dropout(0), layers.Linear(32, CLASSES)
        )

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


class TheirBlock(torch.nn.Module):
    """Shortcuts of option A: every second pixel, and maps of zeros."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.stride, self.added = stride, outputs - inputs
        self.conv1 = torch.nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(outputs)
        self.conv2 = torch.nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = torch.nn.BatchNorm2d(outputs)

    def forward(self, x):
        shortcut = torch.nn.functional.pad(
            x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.added)
        )
        out = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(out + shortcut)


class TheirResNet(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = torch.nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(16)
        self.layer1 = torch.nn.Sequential(TheirBlock(16, 16, 1))
        self.layer2 = torch.nn.Sequential(TheirBlock(16, 32, 2))
        self.layer3 = torch.nn.Sequential(TheirBlock(32, 64, 2))
        self.fc = torch.nn.Linear(64, CLASSES)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        return self.fc(self.layer3(self.layer2(self.layer1(x))).mean((2, 3)))


NETWORKS = {
    "lenet": (lambda: models.lenet5(CLASSES, 20), their_lenet, (1, 20, 20)),
    "vgg": (
        lambda: models.vgg([16, 16, "pool", 24, 24, "pool"], True, CLASSES, 12, hidden=[32]),
        TheirVGG,
        (3, 12, 12),
    ),
    "resnet": (lambda: models.resnet(8, CLASSES), TheirResNet, (3, 13, 12)),
}


def by_algorithm(model, algorithm):
    """Every convolution computed by this algorithm."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.algorithm = algorithm
    return model


def deviations(name, dtype, algorithm, seed):
    """Largest relative errors, against PyTorch, of thirty losses and of the running averages."""
    build_ours, build_theirs, shape = NETWORKS[name]
    fastnn.manual_seed(seed)
    torch.manual_seed(seed)
    theirs = build_theirs().to(getattr(torch, dtype))
    ours = by_algorithm(build_ours(), algorithm).astype(dtype)
    ours.load_state_dict(theirs.state_dict())
    their_optimizer = torch.optim.SGD(theirs.parameters(), **OPTIONS)
    step = fastnn.TrainingStep(ours, nn.CrossEntropyLoss(), optim.SGD(**OPTIONS))
    rng = np.random.default_rng(seed)
    patterns = rng.standard_normal((CLASSES, *shape))
    of_losses, of_averages = [], [0.0]
    for _ in range(STEPS):
        y = rng.integers(0, CLASSES, BATCH)
        x = (patterns[y] + rng.standard_normal((BATCH, *shape))).astype(dtype)
        their_optimizer.zero_grad()
        expected = torch.nn.functional.cross_entropy(
            theirs(torch.from_numpy(x)), torch.from_numpy(y)
        )
        expected.backward()
        their_optimizer.step()
        of_losses.append(abs(step(x, y) - expected.item()) / expected.item())
    found = ours.state_dict()
    for key, tensor in theirs.state_dict().items():
        if key.endswith("num_batches_tracked"):
            assert found[key] == STEPS
        elif "running" in key:
            wanted = tensor.numpy()
            of_averages.append(np.abs(found[key] - wanted).max() / np.abs(wanted).max())
    return max(of_losses), max(of_averages)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(
    ("dtype", "algorithm", "tolerance"),
    [
        ("float64", "auto", 1e-9),
        ("float64", "im2col", 1e-9),
        ("float32", "auto", 1e-3),
        ("float32", "direct", 1e-4),
    ],
)
def test_thirty_steps(name, dtype, algorithm, tolerance):
    """In float32 a unit whose sum is within rounding of zero may be on in one library and off in
    the other, which shows in all that follows, at 1e-5 to 1e-4 of a loss and some ten times that of
    an average. PyTorch's own float32 and float64 part so in one of three runs of the residual
    network: hence the median run, and ten times the tolerance for averages.
    """
    torch.set_num_threads(1)
    runs = np.array([deviations(name, dtype, algorithm, seed) for seed in range(5)])
    if dtype == "float64":
        assert runs.max() <= tolerance, runs
    else:
        assert (np.median(runs, axis=0) <= [tolerance, 10 * tolerance]).all(), runs
