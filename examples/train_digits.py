"""Trains a small network on the handwritten digits that fastnn brings with it.

    python examples/train_digits.py [--epochs 40] [--output FOLDER]

Preprocess, build, train, evaluate on digits that the training never saw; save the weights and a
picture of the curves.
"""

import argparse
from pathlib import Path

import numpy as np

import fastnn
from fastnn import nn, optim


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--epochs", type=int, default=40, help="passes over the training data, 1 or more"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("digits-run"), help="folder for what is saved"
    )
    arguments = parser.parse_args()
    if arguments.epochs < 1:
        parser.error("--epochs: expected 1 or more")
    arguments.output.mkdir(parents=True, exist_ok=True)  # now, not after the training
    fastnn.manual_seed(0)

    X, y = fastnn.datasets.digits()
    X_train, X_test, y_train, y_test = fastnn.datasets.train_test_split(X, y, test_size=0.2, seed=0)
    centre = fastnn.preprocessing.ZeroCenter().fit(X_train)

    def preprocess(images):
        return centre.transform(images) / 8  # grey levels go from 0 to 16

    model = nn.Sequential(
        nn.Linear(64, 128),
        nn.BatchNorm1d(128),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Linear(128, 10),
    )
    print(model.summary(input_shape=(64,), batch_size=32))

    trainer = fastnn.Trainer(
        model,
        nn.CrossEntropyLoss(),
        optim.SGD(lr=0.02, momentum=0.9, weight_decay=1e-3),
    )
    history = trainer.fit(
        preprocess(X_train),
        y_train,
        epochs=arguments.epochs,
        batch_size=32,
        validation_split=0.1,
        keep_best=True,
    )
    result = trainer.evaluate(preprocess(X_test), y_test)
    speed = np.median(history["examples_per_second"])
    print(
        f"\nheld-out digits: accuracy {result['accuracy']:.4f}, loss {result['loss']:.4f}; "
        f"trained at {speed:,.0f} examples per second"
    )

    np.savez(arguments.output / "weights.npz", **model.state_dict())
    centre.save(arguments.output / "centre.npz")
    save_picture(history, arguments.output / "curves.png")
    print(f"weights, preprocessing and curves are in {arguments.output}/")


def save_picture(history: fastnn.History, path: Path) -> None:
    """The curves as a file, whether or not there is a screen."""
    import matplotlib

    matplotlib.use("Agg")
    history.plot()[0].figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
