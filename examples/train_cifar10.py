"""Trains a small VGG network on CIFAR-10, with random crops and mirror images.

    python examples/train_cifar10.py --data FOLDER [--epochs 30] [--output FOLDER]

FOLDER holds the files of the binary version, data_batch_1.bin to data_batch_5.bin and
test_batch.bin. The images stay bytes; each batch is augmented and normalized while it is filled.
"""

import argparse
import math
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

import fastnn
from fastnn import datasets, models, nn, optim


class CosineDecay(fastnn.Callback):
    """Takes the learning rate from its first value to zero (Loshchilov and Hutter, 2017)."""

    def __init__(self, epochs: int):
        self.epochs = epochs

    def on_fit_start(self, trainer: fastnn.Trainer) -> None:
        self.first = trainer.optimizer.param_groups[0]["lr"]

    def on_epoch_end(self, trainer: fastnn.Trainer, epoch: int, row: Mapping[str, float]) -> None:
        share = (1 + math.cos(math.pi * (epoch + 1) / self.epochs)) / 2
        trainer.optimizer.param_groups[0]["lr"] = self.first * share


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--data", type=Path, required=True, default=argparse.SUPPRESS, help="folder of the files"
    )
    parser.add_argument(
        "--epochs", type=int, default=30, help="passes over the training data, 1 or more"
    )
    parser.add_argument("--batch-size", type=int, default=64, help="examples of a step")
    parser.add_argument("--lr", type=float, default=0.05, help="learning rate of the first epoch")
    parser.add_argument("--seed", type=int, default=0, help="of everything random")
    parser.add_argument(
        "--output", type=Path, default=Path("cifar10-run"), help="folder for what is saved"
    )
    arguments = parser.parse_args()
    if arguments.epochs < 1:
        parser.error("--epochs: expected 1 or more")
    arguments.output.mkdir(parents=True, exist_ok=True)  # now, not after the training
    fastnn.manual_seed(arguments.seed)

    (X_train, y_train), (X_test, y_test) = datasets.cifar10(arguments.data)
    pixels = X_train / np.float32(255)
    augment = datasets.Augment(
        crop_padding=4, flip=True, mean=pixels.mean((0, 2, 3)), std=pixels.std((0, 2, 3))
    )

    model = models.vgg("cifar")
    print(model.summary(input_shape=(3, 32, 32), batch_size=arguments.batch_size))
    optimizer = optim.SGD(lr=arguments.lr, momentum=0.9, weight_decay=5e-4)
    trainer = fastnn.Trainer(model, nn.CrossEntropyLoss(), optimizer)
    started = time.perf_counter()
    history = trainer.fit(
        X_train,
        y_train,
        arguments.epochs,
        arguments.batch_size,
        augment=augment,
        validation_data=(X_test, y_test),
        callbacks=[CosineDecay(arguments.epochs)],
    )
    result = trainer.evaluate(augment.normalize(X_test), y_test)
    print(
        f"\ntest images: accuracy {result['accuracy']:.4f}, loss {result['loss']:.4f} after "
        f"{arguments.epochs} epochs in {time.perf_counter() - started:.1f} s"
    )
    classes = trainer.predict(augment.normalize(X_test))
    for label, name in enumerate(datasets.CIFAR10_CLASSES):
        print(f"  {name:10} {np.mean(classes[y_test == label] == label):.3f}")

    np.savez(arguments.output / "weights.npz", **model.state_dict())
    import matplotlib

    matplotlib.use("Agg")
    history.plot()[0].figure.savefig(arguments.output / "curves.png", dpi=120)
    print(f"weights and curves are in {arguments.output}/")


if __name__ == "__main__":
    main()
