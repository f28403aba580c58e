"""Trains a network on MNIST.

    python examples/train_mnist.py --data FOLDER [--model mlp | lenet5] [--epochs 10]

FOLDER holds the four IDX files as they are published, plain or gzipped. LeNet-5 is a convolutional
network and takes some ten times as long as the fully connected one.
"""

import argparse
import time
from pathlib import Path

import numpy as np

import fastnn
from fastnn import models, nn, optim

LEARNING_RATES = {"mlp": 0.05, "lenet5": 0.02}


def build(name: str) -> nn.Module:
    if name == "lenet5":
        return models.lenet5()
    return models.mlp([784, 256, 128, 10], batch_norm=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--data", type=Path, required=True, default=argparse.SUPPRESS, help="folder of the files"
    )
    parser.add_argument(
        "--model", choices=sorted(LEARNING_RATES), default="mlp", help="what to train"
    )
    parser.add_argument(
        "--epochs", type=int, default=10, help="passes over the training data, 1 or more"
    )
    parser.add_argument("--seed", type=int, default=0, help="of everything random")
    parser.add_argument(
        "--output", type=Path, default=Path("mnist-run"), help="folder for what is saved"
    )
    arguments = parser.parse_args()
    if arguments.epochs < 1:
        parser.error("--epochs: expected 1 or more")
    arguments.output.mkdir(parents=True, exist_ok=True)  # now, not after the training
    fastnn.manual_seed(arguments.seed)

    flatten = arguments.model == "mlp"
    (X_train, y_train), (X_test, y_test) = fastnn.datasets.mnist(arguments.data, flatten=flatten)
    centre = fastnn.preprocessing.ZeroCenter().fit(X_train)
    X_train, X_test = centre.transform(X_train) / 255, centre.transform(X_test) / 255

    model = build(arguments.model)
    print(model.summary(input_shape=X_train.shape[1:], batch_size=64))
    optimizer = optim.SGD(lr=LEARNING_RATES[arguments.model], momentum=0.9)
    trainer = fastnn.Trainer(model, nn.CrossEntropyLoss(), optimizer)
    started = time.perf_counter()
    history = trainer.fit(X_train, y_train, arguments.epochs, 64, validation_data=(X_test, y_test))
    print(
        f"\ntest images: accuracy {trainer.evaluate(X_test, y_test)['accuracy']:.4f} after "
        f"{arguments.epochs} epochs in {time.perf_counter() - started:.1f} s"
    )
    np.savez(arguments.output / "weights.npz", **model.state_dict())
    import matplotlib

    matplotlib.use("Agg")
    history.plot()[0].figure.savefig(arguments.output / "curves.png", dpi=120)
    print(f"weights and curves are in {arguments.output}/")


if __name__ == "__main__":
    main()
