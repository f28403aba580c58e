"""State dicts of torchvision's networks load key for key, and give torchvision's outputs."""

import math

import numpy as np
import pytest

import fastnn
from fastnn import models, nn

torch = pytest.importorskip("torch", reason="parity is measured against PyTorch, which is absent")

import torchvision_networks as reference  # noqa: E402 (it needs torch)


def shapes(model):
    return {key: tuple(array.shape) for key, array in model.state_dict().items()}


def settle(model):
    """Running averages and slopes that are not those of a fresh network."""
    for key, tensor in model.state_dict().items():
        if key.endswith("running_mean"):
            tensor.normal_(0, 0.1)
        elif key.endswith("running_var"):
            tensor.uniform_(0.8, 1.2)
    return model.eval()


def assert_same_network(ours, theirs, image_size):
    assert shapes(ours) == shapes(theirs)
    torch.manual_seed(0)
    settle(theirs)
    ours.load_state_dict(theirs.state_dict())
    for key, tensor in theirs.state_dict().items():
        np.testing.assert_array_equal(ours.state_dict()[key], tensor.numpy(), err_msg=key)
    images = np.random.default_rng(0).standard_normal((2, 3, image_size, image_size))
    images = images.astype(np.float32)
    with torch.inference_mode():
        expected = theirs(torch.from_numpy(images)).numpy()
    got = ours.eval()(images)
    # Winograd loses up to 5e-5 of the largest value in a layer (design, section 5).
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_alexnet():
    assert_same_network(models.alexnet(num_classes=10), reference.alexnet(10), 224)
    with torch.device("meta"):
        original = reference.alexnet()
    assert shapes(models.alexnet()) == shapes(original)


@pytest.mark.parametrize("batch_norm", [False, True], ids=["plain", "bn"])
@pytest.mark.parametrize("name", ["vgg11", "vgg13", "vgg16", "vgg19"])
def test_vgg(name, batch_norm):
    ours = models.vgg(name, batch_norm, num_classes=10, hidden=(32, 32))
    assert_same_network(ours, reference.vgg(name, batch_norm, 10, 32), 32)


def test_vgg_of_the_paper():
    with torch.device("meta"):
        theirs = reference.vgg("vgg11", True)
    assert shapes(models.vgg("vgg11")) == shapes(theirs)


def test_resnet18():
    assert_same_network(models.resnet18(), reference.ResNet18(), 96)


def test_initial_weights():
    """Those of torchvision: He's normal by fan out in VGG and ResNet, PyTorch's own in AlexNet."""
    fastnn.manual_seed(0)
    for model in (models.vgg("cifar"), models.resnet18(), models.resnet(20)):
        for module in model.modules():
            if isinstance(module, nn.Conv2d) and module.weight.data.size > 2000:
                fan_out = module.out_channels * math.prod(module.kernel_size)
                assert module.weight.data.std() == pytest.approx(math.sqrt(2 / fan_out), rel=0.06)
                assert module.bias is None or not module.bias.data.any()
    classifier = models.vgg("cifar").classifier
    assert classifier[0].weight.data.std() == pytest.approx(0.01, rel=0.02)
    weight = models.alexnet(width=0.25).features[3].weight.data
    assert np.abs(weight).max() <= 1 / math.sqrt(math.prod(weight.shape[1:]))
