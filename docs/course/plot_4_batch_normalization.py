"""
4. Batch normalization
======================

The last chapter chose the initial weights so that every layer's outputs have a decent size, and
hoped that they keep it while the weights change. Batch normalization (Ioffe and Szegedy, 2015) does
not hope: it is a layer that *makes* its outputs so, in every step.
"""

import matplotlib.pyplot as plt
import numpy as np
from handwriting import load  # the folder beside this script

import fastnn
from fastnn import diagnostics, models, nn, optim, preprocessing

fastnn.manual_seed(0)
data = load(5000)
print(data)
centre = preprocessing.ZeroCenter().fit(data.X_train)
X, y = centre.transform(data.X_train) / 255, data.y_train
X_test, y_test = centre.transform(data.X_test) / 255, data.y_test
loss = nn.CrossEntropyLoss()

# %%
# What it computes
# ----------------
# For each feature, over the examples of the batch:
#
# .. math::
#
#    \hat x = \frac{x - \text{mean}(x)}{\sqrt{\text{var}(x) + \epsilon}}, \qquad
#    y = \gamma \hat x + \beta
#
# First the feature gets a mean of 0 and a variance of 1. Then the network may undo that: ``gamma``
# and ``beta`` are parameters, and are learned. They begin with 1 and 0. As everywhere in PyTorch,
# and so in fastnn, they are called ``weight`` and ``bias``.

rng = np.random.default_rng(0)
batch = rng.normal(loc=5, scale=3, size=(64, 4)).astype(np.float32)
layer = nn.BatchNorm1d(4)
by_layer = layer(batch)
by_hand = (batch - batch.mean(axis=0)) / np.sqrt(batch.var(axis=0) + layer.eps)
print("inputs:  mean", batch.mean(axis=0).round(2), "std", batch.std(axis=0).round(2))
print("outputs: mean", np.abs(by_layer.mean(axis=0)).round(2), "std", by_layer.std(axis=0).round(2))
print("largest difference to the formula by hand:", np.abs(by_layer - by_hand).max())

# %%
# **What one does about it.** Put it after a linear layer or a convolution and before the
# activation: ``nn.Linear``, ``nn.BatchNorm1d``, ``nn.ReLU``. For images it is ``nn.BatchNorm2d``,
# which takes the statistics of a channel over all pixels too.

# %%
# In training, and afterwards
# ---------------------------
# In training the outputs for one example depend on the others in its batch. That must not be so
# when the network is used: an answer must not depend on who else asks. So the layer keeps *running
# averages* of mean and variance while it trains, ``new = 0.9 * old + 0.1 * batch``, and after
# ``model.eval()`` it takes these instead of the batch's.

running = []
layer = nn.BatchNorm1d(1)
for _ in range(60):
    layer(rng.normal(loc=5, scale=3, size=(64, 1)).astype(np.float32))
    running.append((layer.running_mean[0], layer.running_var[0] ** 0.5))

figure, ax = plt.subplots(figsize=(7.5, 3), layout="constrained")
lines = ax.plot(range(1, 61), running)
for line, truth, name in zip(lines, (5, 3), ("mean", "standard deviation"), strict=True):
    line.set_label(f"running {name}")
    ax.axhline(truth, color=line.get_color(), linestyle="--", linewidth=1)
ax.set(xlabel="batches seen", title="running averages find those of the data (dashed)")
ax.grid(alpha=0.3)
ax.legend(fontsize=9)

one, others = batch[:1, :1], batch[1:, :1]
print("train mode, among others:      ", layer(np.concatenate([one, others]))[0])
print("train mode, among twice others:", layer(np.concatenate([one, 2 * others]))[0])
layer.eval()
print("eval mode, among others:       ", layer(np.concatenate([one, others]))[0])
print("eval mode, among twice others: ", layer(np.concatenate([one, 2 * others]))[0])
print("eval mode, alone:              ", layer(one)[0])

# %%
# The averages need a few dozen batches. A network that was trained for three batches has running
# averages that mean nothing yet.
#
# **What one does about it.** ``model.train()`` to train, ``model.eval()`` to use.
# :class:`fastnn.Trainer` does both by itself; in your own loop it is your job. In eval mode the
# layer is just a multiplication and an addition, and fastnn folds them into the weights before:
# there batch normalization costs nothing.

# %%
# Robust against bad initial weights
# ----------------------------------
# Now its effect. A network of six hidden layers, with ReLU, gets normal initial weights: He's,
# times a factor from a hundredth to a hundred. All else stays the same.

DEPTH, EPOCHS = 6, 4


def train(batch_norm, factor=1.0, lr=0.03):
    """The accuracy on the test images after a few epochs; chance, where it explodes."""
    fastnn.manual_seed(0)
    model = models.mlp([data.features] + DEPTH * [64] + [10], batch_norm=batch_norm)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            module.weight.data[...] *= factor
            nn.init.zeros_(module.bias)
    trainer = fastnn.Trainer(model, loss, optim.SGD(lr=lr, momentum=0.9))
    try:
        trainer.fit(X, y, EPOCHS, seed=0)
    except fastnn.TrainingDiverged:
        return 0.1
    return trainer.evaluate(X_test, y_test)["accuracy"]


factors = np.geomspace(0.01, 100, 9)
rates = np.geomspace(1e-4, 10, 11)
by_factor = {bn: [train(bn, factor=factor) for factor in factors] for bn in (False, True)}
by_rate = {bn: [train(bn, lr=lr) for lr in rates] for bn in (False, True)}

figure, axes = plt.subplots(1, 2, figsize=(9.6, 3.9), layout="constrained", sharey=True)
names = {False: "without batch normalization", True: "with"}
for ax, places, found in ((axes[0], factors, by_factor), (axes[1], rates, by_rate)):
    for bn, accuracies in found.items():
        ax.plot(places, accuracies, marker="o", markersize=4, label=names[bn])
    ax.axhline(0.1, color="0.35", linestyle="--", linewidth=1, label="chance")
    ax.set(xscale="log", ylim=(0, 1.02))
    ax.grid(alpha=0.3)
axes[0].set(xlabel="initial weights, times He's", ylabel=f"test accuracy after {EPOCHS} epochs")
axes[1].set(xlabel="learning rate")
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
for what, found in (("factors of initial weights", by_factor), ("learning rates", by_rate)):
    counts = [sum(accuracy > 0.8 for accuracy in found[bn]) for bn in (False, True)]
    print(f"{what}: {counts[0]} of {len(found[True])} give 80 % without, {counts[1]} with it")

# %%
# Without it, the network learns for a narrow range of initial weights. With it, the range is many
# times wider: whatever size the weights begin with, the next layer never sees it. And in the
# right-hand picture learning rates work that are several times as large.
#
# **What one does about it.** In a deep network, use it. It does not replace a search for the
# learning rate, but it makes that search much easier.

# %%
# The batch must not be too small
# -------------------------------
# Mean and variance of a batch are estimates, and of few examples they are poor ones. The variance
# of ``n`` values is uncertain by about :math:`\sqrt{2 / (n - 1)}` of itself. That noise goes into
# every output of the network. Here the variance of normal numbers, whose true variance is 1,
# estimated from many batches:

sizes = (2, 4, 8, 16, 32, 64, 128)
measured = [rng.normal(size=(5000, n)).var(axis=1, ddof=1).std() for n in sizes]
expected = [(2 / (n - 1)) ** 0.5 for n in sizes]
for n, by_experiment, by_formula in zip(sizes, measured, expected, strict=True):
    print(
        f"batches of {n:3}: {100 * by_experiment:4.0f} %, by the formula {100 * by_formula:4.0f} %"
    )

# %%
# And a batch of one has no variance at all. fastnn says so instead of dividing by zero:

model = models.mlp([data.features, 64, 10], batch_norm=True)
try:
    fastnn.TrainingStep(model, loss).forward(X[:1], y[:1])
except ValueError as error:
    print(error)

# %%
# :func:`~fastnn.diagnostics.batchnorm_check` takes the size of your batches into account:

print(diagnostics.batchnorm_check(model, loss, X, y, batch_size=4))

# %%
# **What one does about it.** Batches of 16 examples or more, 32 to be comfortable. Take care that
# the last batch of an epoch is not a single example.

# %%
# The bias before it does nothing
# -------------------------------
# The note above says something else too. The layer before a batch normalization has a bias. But the
# mean is subtracted at once, and the bias with it. So it gets no gradient: only rounding is left.

step = fastnn.TrainingStep(model, loss, optim.SGD(lr=0.1))
step.forward(X[:64], y[:64])
step.backward()
print(f"largest gradient of the bias:    {np.abs(model[0].bias.grad).max():.1e}")
print(f"largest gradient of the weights: {np.abs(model[0].weight.grad).max():.1e}")

# %%
# **What one does about it.** ``nn.Linear(..., bias=False)`` before a batch normalization. It
# changes no result, and saves some memory and time. The ``beta`` of the normalization is the bias
# now.

# %%
# A layer that was forgotten in eval mode
# ---------------------------------------
# A mistake that is easily made, when one layer is frozen for an experiment, or when ``eval()`` was
# called to look at a result. The layer goes on, but by running averages that nothing updates.

forgotten = models.mlp([data.features, 64, 64, 10], batch_norm=True)
forgotten[1].eval()
print(diagnostics.batchnorm_check(forgotten, loss, X, y))

# %%
# After a training the check compares the running averages with the statistics of a batch, channel
# by channel, and the loss in train mode with that in eval mode. Here all is well:

model = models.mlp([data.features, 64, 64, 10], batch_norm=True)
fastnn.Trainer(model, loss, optim.SGD(lr=0.03, momentum=0.9)).fit(X, y, epochs=5, seed=0)
check = diagnostics.batchnorm_check(model, loss, X, y)
print(check)
_ = check.plot()

# %%
# And here the inputs are not prepared as they were in training: somebody forgot to divide by 255.
# In train mode nobody would notice, because the first normalization takes the factor out again. In
# eval mode the network fails:

check = diagnostics.batchnorm_check(model, loss, 255 * X, y)
print(check)
_ = check.plot()

# %%
# **What one does about it.** Before a long training check the modes; after it compare the two
# losses. If a network is good in train mode and bad in eval mode, the running averages are to
# blame.

plt.show()
