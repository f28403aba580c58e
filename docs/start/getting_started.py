"""
Getting started
===============

From installing fastnn to a network that reads handwritten digits, in a few minutes. You need to
know a little Python and NumPy; what a layer or a gradient is, the course tells later.

Install
-------

fastnn is built on your machine: you need Python 3.11 or later and a C compiler, GCC or Clang. In
the folder of the project, in a virtual environment:

.. code-block:: sh

    python -m pip install .

What was built, and what this machine makes of it:
"""

# sphinx_gallery_thumbnail_number = 2

import fastnn

fastnn.show_config()

# %%
# This page is a script. All that it prints and draws below came from running it when the site was
# built; you can download it at the end and change it.
#
# Data
# ----
#
# 1797 digits of 8 x 8 pixels come with fastnn. Data are NumPy arrays: the examples along the first
# axis, and a label for each.

import matplotlib.pyplot as plt
import numpy as np

from fastnn import nn, optim

X, y = fastnn.datasets.digits()
print("images", X.shape, X.dtype, "from", X.min(), "to", X.max())
print("labels", y.shape, y.dtype, np.unique(y))

_, axes = plt.subplots(1, 8, figsize=(8, 1.5), layout="constrained")
for ax, image, label in zip(axes, X, y):
    ax.imshow(image.reshape(8, 8), cmap="gray_r")
    ax.set_title(label)
    ax.axis("off")

# %%
# A network that has seen an example may simply remember it. So keep a fifth of them away from the
# training, to test on.

X_train, X_test, y_train, y_test = fastnn.datasets.train_test_split(X, y, test_size=0.2, seed=0)
print(len(X_train), "to train on,", len(X_test), "to test on")

# %%
# Networks learn best from inputs around zero. `fastnn.preprocessing.Standardize` learns the mean
# and the spread of each pixel **from the training examples**, and then applies them to any others.

standardize = fastnn.preprocessing.Standardize().fit(X_train)

# %%
# A network
# ---------
#
# Layers one after the other: 64 pixels, 128 hidden units, 10 classes. The batch normalization keeps
# what the hidden units compute in a good range, the ReLU bends it. Random numbers decide where the
# training starts; with the seed it starts at the same place each time.

fastnn.manual_seed(0)
model = nn.Sequential(
    nn.Linear(64, 128),
    nn.BatchNorm1d(128),
    nn.ReLU(),
    nn.Linear(128, 10),
)
print(model.summary(input_shape=(64,), batch_size=32))

# %%
# Called with images, it gives ten *scores* for each. Before training they mean nothing:

print(model(standardize.transform(X_test[:2])).round(2))

# %%
# Train
# -----
#
# Three things are needed: the model, a **loss** that says how wrong its scores are, and an
# **optimizer** that says how to change the weights to make it smaller. A `fastnn.Trainer` puts them
# together. An *epoch* goes once through all examples; ``validation_split`` sets a tenth of them
# aside and measures on them after each epoch, and ``keep_best`` keeps the weights that did best
# there.

trainer = fastnn.Trainer(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.05, momentum=0.9))
history = trainer.fit(
    standardize.transform(X_train),
    y_train,
    epochs=20,
    batch_size=32,
    validation_split=0.1,
    keep_best=True,
)
seconds = sum(len(X_train) * 0.9 / rate for rate in history["examples_per_second"])
print(f"loss {history['loss'][0]:.3f} after the first epoch, {history['loss'][-1]:.4f} at the end")
print(f"validation accuracy {max(history['val_accuracy']):.1%} at best")
print(f"all steps together took {seconds:.2f} seconds")

# %%
# The curves tell how it went: the loss falls, the accuracy rises, and on examples that it is not
# trained on (orange) it is nearly as good as on the others.

history.plot()

# %%
# Test
# ----
#
# Now the fifth that neither the training nor the choice of the best epoch has seen.

result = trainer.evaluate(standardize.transform(X_test), y_test)
print(f"test accuracy {result['accuracy']:.1%}, loss {result['loss']:.3f}")

# %%
# `fastnn.Trainer.predict` gives classes, `fastnn.Trainer.predict_proba` how sure it is of each.
# These are the ones that it gets wrong:

images = standardize.transform(X_test)
predicted, probabilities = trainer.predict(images), trainer.predict_proba(images)
wrong = np.flatnonzero(predicted != y_test)
print(len(wrong), "of", len(y_test), "are wrong")

_, axes = plt.subplots(
    1, max(1, len(wrong[:8])), figsize=(8, 1.8), layout="constrained", squeeze=False
)
for ax, i in zip(axes[0], wrong):
    ax.imshow(X_test[i].reshape(8, 8), cmap="gray_r")
    ax.set_title(
        f"{y_test[i]}, said {predicted[i]}\n({probabilities[i, predicted[i]]:.0%} sure)", fontsize=9
    )
for ax in axes[0]:
    ax.axis("off")

# %%
# Keep it
# -------
#
# The weights are a dict of NumPy arrays, under the keys and in the shapes that PyTorch uses. Save
# them with what the preprocessing learned: the one is no good without the other.

import tempfile
from pathlib import Path

folder = Path(tempfile.mkdtemp())
np.savez(folder / "weights.npz", **model.state_dict())
standardize.save(folder / "standardize.npz")
print({name: values.shape for name, values in model.state_dict().items()})

# %%
# Later, in another program: build the same network, load both, and predict. In inference mode
# (``eval``) batch normalization uses what it learned in training.

restored = nn.Sequential(nn.Linear(64, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, 10))
restored.load_state_dict(np.load(folder / "weights.npz"))
restored.eval()
preprocess = fastnn.preprocessing.load(folder / "standardize.npz")

scores = restored(preprocess.transform(X_test))
print("same predictions:", np.array_equal(scores.argmax(axis=1), predicted))

# %%
# The loop by hand
# ----------------
#
# ``fit`` is a loop around four lines, and you can write them yourself, for a training that goes
# another way. Each line runs compiled code; `fastnn.TrainingStep` compiles it at the first batch.

images = preprocess.transform(X_train)
step = fastnn.TrainingStep(restored.train(), nn.CrossEntropyLoss(), optim.SGD(lr=0.01))
for xb, yb in fastnn.datasets.batches(images, y_train, batch_size=64, seed=0):
    loss = step.forward(xb, yb)  # the loss of a batch
    step.backward()  # its gradients, in parameter.grad
    step.update()  # changes the parameters by them
print(f"loss of the last batch {loss:.4f}")

# %%
# A network of your own
# ---------------------
#
# What is no chain of layers is a class with a ``forward``, as in PyTorch. It runs once on values
# that have a shape but no numbers, and what it does with them is compiled. ``x.shape`` is (batch,
# channels, height, width), where the batch stands for any size: ``x.reshape(x.shape[0], ...)``
# takes it as it is, the others are plain numbers.


class TwoViews(nn.Module):
    def __init__(self):
        super().__init__()
        self.pixels = nn.Linear(64, 32)
        self.patches = nn.Conv2d(1, 8, 3, stride=2)
        self.scores = nn.Linear(32 + 8, 10)

    def forward(self, x):
        patches = nn.functional.relu(self.patches(x.reshape(x.shape[0], 1, 8, 8)))
        # The mean over the pixels of each channel.
        patches = nn.functional.adaptive_avg_pool2d(patches, 1).flatten(1)
        pixels = nn.functional.relu(self.pixels(x))
        return self.scores(nn.functional.concatenate([pixels, patches]))


print(TwoViews()(images[:5]).shape)

# %%
# Where to go next
# ----------------
#
# * :doc:`The course </chapters/index>` tells why this network is built and trained as it is:
#   activations, preprocessing, initialization, batch normalization, what to check before and during
#   a training, and how to find a good learning rate.
# * `fastnn.diagnostics.babysit` makes all those checks on your own model and data, in one call.
# * `fastnn.models` has networks for images; :doc:`/reference/index` has everything.
# * If your training seems slow, `fastnn.profile` tells where its time goes, and
#   :doc:`/benchmarks` what to expect.
