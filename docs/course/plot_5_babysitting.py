"""
5. Baby-sitting a training
==========================

A network has no compiler that points at a mistake. If something is wrong, it just learns badly. So
one does not start a long training and hope; one goes in small steps, and at each step knows what
should come out. This chapter takes the steps of the course one by one, then all of them in one
call, and at the end plants some faults to see whether they are found.
"""

import textwrap

import matplotlib.pyplot as plt
import numpy as np
from handwriting import load  # the folder beside this script

import fastnn
from fastnn import diagnostics, models, nn, optim, preprocessing

fastnn.manual_seed(0)
data = load(10_000)
print(data)

# %%
# Steps 1 and 2: data and network
# -------------------------------
# The inputs are prepared as in chapter 2. A fifth of the training images is set aside for
# validation *before* the mean is computed. The network is small, one hidden layer of 50 units, so
# that every experiment is quick.

X_train, X_val, y_train, y_val = fastnn.datasets.train_test_split(
    data.X_train, data.y_train, test_size=0.2, seed=0
)
centre = preprocessing.ZeroCenter().fit(X_train)
X_train, X_val = centre.transform(X_train) / 255, centre.transform(X_val) / 255
print(diagnostics.preprocessing_check(X_train, held_out=X_val))

model = models.mlp([data.features, 50, 10])
loss = nn.CrossEntropyLoss()
print(model)

# %%
# Step 3: is the first loss right?
# --------------------------------
# Before any training the network knows nothing. It should give each of the ten classes a
# probability of about 1/10, and the cross-entropy of that is ``-log(1/10) = log(10)``. If the first
# loss is another one, something is wrong with the loss, the labels or the last layer.

first = diagnostics.initial_loss_check(model, loss, X_train, y_train)
print(first)
_ = first.plot()

# %%
# Then turn on regularization, and the loss must go up, by ``1/2 * lambda * sum(w**2)``.

for weight_decay in (0.001, 0.1, 10.0):
    check = diagnostics.regularization_check(model, loss, X_train, y_train, weight_decay)
    print(f"lambda {weight_decay:5}: loss {check.measured:8.4f}, expected {check.expected}")

# %%
# **What one does about it.** A first loss far above chance: make the last layer's weights smaller.
# One below chance: the network has seen the labels. No rise with regularization: it is not switched
# on.

# %%
# Step 4: overfit a handful of examples
# -------------------------------------
# Take twenty examples, switch regularization off, and train on them until the loss is zero and the
# accuracy 1. Any network that can learn something can learn twenty examples by heart. This step
# finds most mistakes, and is quick.

overfit = diagnostics.overfit_check(model, loss, X_train, y_train, n=20)
print(overfit)
_ = overfit.plot()

# %%
# **What one does about it.** If it fails, do not go on. The check says what it suspects: labels
# that contradict each other, a layer without a gradient, a softmax too many.

# %%
# Step 5: find the learning rate
# ------------------------------
# Now all examples. First a learning rate of 1e-6:


def train(lr, epochs=5, inputs=X_train, callbacks=()):
    """A training of the same network from the same start; returns its history."""
    fastnn.manual_seed(0)
    model = models.mlp([data.features, 50, 10])
    trainer = fastnn.Trainer(model, loss, optim.SGD(lr=lr, momentum=0.9))
    return trainer.fit(inputs, y_train, epochs, callbacks=callbacks, seed=0)


history = train(lr=1e-6)
for epoch, (value, accuracy) in enumerate(zip(history["loss"], history["accuracy"], strict=True)):
    print(f"epoch {epoch + 1}: loss {value:.5f}, accuracy {accuracy:.3f}")

# %%
# The loss barely changes: the learning rate is too small. Then a very large one:

try:
    train(lr=1e6)
except fastnn.TrainingDiverged as error:
    print(textwrap.fill(str(error), 90))

# %%
# The loss is not a number any more: too large. fastnn stops at the batch where it happens, says in
# which layer it saw the first bad value, and puts the last good weights back.
#
# The range in between is found by :func:`~fastnn.diagnostics.learning_rate_range`. It trains for a
# few batches at many learning rates, always from the same start.

rates = diagnostics.learning_rate_range(model, loss, X_train, y_train)
print(rates)
_ = rates.plot()

# %%
# The green range is where the loss falls and does not explode. The suggestion lies well inside it,
# at a tenth of the rate that did best: a whole training is longer than these few batches, and needs
# to be more careful. This is what whole trainings look like, at the suggestion, far below it, and
# far above:

figure, ax = plt.subplots(figsize=(7.5, 3.8), layout="constrained")
for factor in (0.001, 0.03, 1, 10, 100):
    lr = factor * rates.data["suggestion"]
    try:
        losses = train(lr, epochs=10)["loss"]
    except fastnn.TrainingDiverged:
        print(f"learning rate {lr:g}: diverged")
        continue
    print(f"learning rate {lr:g}: loss {losses[-1]:.4g} after 10 epochs")
    ax.plot(range(1, 11), losses, marker="o", markersize=4, label=f"{lr:g}")
ax.set(xlabel="epoch", ylabel="training loss", ylim=(0, 2.6))
ax.grid(alpha=0.3)
ax.legend(title="learning rate", loc="center left", bbox_to_anchor=(1, 0.5))

# %%
# A rate that is far too small gives an almost straight line. A good one falls quickly and then ever
# more slowly. One that is too large falls and then hangs above the others, jumps about, or leaves
# the picture.
#
# **What one does about it.** Barely changing: raise it. NaN: lower it. Then search the range in
# between, which is the next chapter.

# %%
# Step 6: watch the training
# --------------------------
# :class:`~fastnn.diagnostics.Monitor` is a callback that takes a look every so many steps. It costs
# little, so it can always be there.

monitor = diagnostics.Monitor(every=20)
train(rates.data["suggestion"], callbacks=[monitor])
figure, axes = plt.subplots(2, 2, figsize=(8.6, 5.6), layout="constrained")
_ = monitor.plot(axes)
print("warnings:", monitor.warnings or "none")
for layer, ratios in monitor.updates.items():
    print(f"layer {layer}: update / weight {np.median(ratios):.1e} in the middle of all looks")

# %%
# * The **loss** is that of single batches, so it jumps. What counts is where it goes.
# * **Update / weight** is by how much of their size the weights change in one step. About 1e-3, the
#   dashed line, is well; a training at a good pace may be several times above it. Far below, the
#   learning rate is too low; near 1, every step forgets what the weights were.
# * The **gradient norm** of no layer should be many orders of magnitude below that of another.
# * The **share of units** that are dead (ReLU) or saturated (tanh, sigmoid) should stay near zero.

# %%
# Then compare training and validation. Here is the same network on three hundred examples only,
# which it learns by heart; the same with weight decay; and on all examples.

figure, axes = plt.subplots(3, 2, figsize=(8.6, 8), layout="constrained")
cases = {
    "300 examples": (300, 0.0),
    "300 examples, weight decay": (300, 0.03),
    "all examples": (len(X_train), 0.0),
}
for row, (name, (count, weight_decay)) in zip(axes, cases.items(), strict=True):
    fastnn.manual_seed(0)
    model = models.mlp([data.features, 50, 10])
    optimizer = optim.SGD(lr=0.05, momentum=0.9, weight_decay=weight_decay)
    trainer = fastnn.Trainer(model, loss, optimizer)
    history = trainer.fit(
        X_train[:count], y_train[:count], epochs=30, validation_data=(X_val, y_val), seed=0
    )
    history.plot(row)
    row[0].set_title(name)
    row[0].set_ylim(0, 2.5)
    row[1].set_ylim(0.5, 1.01)
    last = {column: history[column][-1] for column in history}
    print(
        f"{name:27} accuracy {last['accuracy']:.3f}, in validation {last['val_accuracy']:.3f}; "
        f"loss {last['loss']:.3f}, in validation {last['val_loss']:.3f}"
    )

# %%
# The gap between the curves is overfitting. Weight decay brings the two losses closer together: the
# network may not become so sure of itself any more. More examples help most.
#
# **What one does about it.** A large gap: more data, more regularization, a smaller network. No
# gap, and both bad: a larger network, or a longer training.

# %%
# All steps in one call
# ---------------------
# :func:`~fastnn.diagnostics.babysit` makes all of these checks in their order. It works on copies:
# your model is as it was. Its report can be printed, or saved as one page with all pictures:
# ``report.save("report.html")``.

fastnn.manual_seed(0)
model = models.mlp([data.features, 50, 10])
optimizer = optim.SGD(lr=0.03, momentum=0.9, weight_decay=1e-4)
report = diagnostics.babysit(
    model, loss, X_train, y_train, optimizer, validation_data=(X_val, y_val)
)
print(report)

# %%
# Does it find mistakes?
# ----------------------
# Three that everybody makes once. First: raw pixels. Here is a training on them under the eyes of a
# monitor, at a learning rate that is good for prepared ones.

raw = fastnn.datasets.train_test_split(data.X_train, data.y_train, test_size=0.2, seed=0)[0]
monitor = diagnostics.Monitor(every=10, warn=False)
train(0.03, epochs=10, inputs=raw, callbacks=[monitor])
print("loss at the end:", round(monitor.losses[-1], 3))
for warning in monitor.warnings:
    print(textwrap.fill(warning, 90))
figure, axes = plt.subplots(2, 2, figsize=(8.6, 5.6), layout="constrained")
_ = monitor.plot(axes)

# %%
# The loss is that of chance, and the monitor tells why: the first steps were so large that they
# pushed the units to where they are zero for every image. No gradient comes through any more: they
# are *dead*, and no later step will wake them. (With ``warn=True``, the default, such a warning is
# issued during the training, where one can still stop it.)
#
# The monitor sees what happened. What caused it says ``babysit``; here for all three mistakes: raw
# pixels, a softmax before a loss that has one already, and labels in another order than the images.

with_softmax = nn.Sequential(models.mlp([data.features, 50, 10]), nn.Softmax())
shuffled = np.random.default_rng(0).permutation(y_train)
mistakes = {
    "raw pixels": (model, raw, y_train),
    "two softmaxes": (with_softmax, X_train, y_train),
    "shuffled labels": (model, X_train, shuffled),
}
for name, (network, inputs, labels) in mistakes.items():
    fastnn.manual_seed(0)
    report = diagnostics.babysit(network, loss, inputs, labels, optim.SGD(lr=0.03, momentum=0.9))
    print(f"--- {name}")
    for fault in report.faults:
        print(textwrap.fill(fault, 90, subsequent_indent="    "))
    if report.stopped:
        print("stopped:", report.stopped)

# %%
# Read such a list from the top: the first cause stands first, and what follows is often only its
# consequence.
#
# **What one does about it.** Call ``babysit`` before every long training, and again when something
# has changed. Then let the training run, with a monitor, and go for a walk.

plt.show()
