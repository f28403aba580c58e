"""
2. Preprocessing
================

A network does not care what its inputs mean. It does care where they lie: around which centre, and
how far apart. This chapter shows what goes wrong with raw data, and the two lines that mend it:
subtract the mean, and bring what remains to a size of about one.
"""

import matplotlib.pyplot as plt
import numpy as np
from handwriting import load  # the folder beside this script

import fastnn
from fastnn import diagnostics, models, nn, optim, preprocessing

fastnn.manual_seed(0)
data = load(5000)
print(data)

# %%
# Three clouds
# ------------
# Take examples with two features. As they come, they lie off to one side, and one feature spreads
# much wider than the other.
#
# :class:`~fastnn.preprocessing.ZeroCenter` subtracts from each feature its mean: the cloud moves to
# the origin. :class:`~fastnn.preprocessing.Standardize` also divides each feature by its standard
# deviation: now both spread alike.

rng = np.random.default_rng(0)
cloud = rng.normal(size=(400, 2)) @ np.array([[2.2, 0.5], [0.0, 0.6]]) + [6, 2.5]
clouds = {
    "original data": cloud,
    "zero-centred": preprocessing.ZeroCenter().fit_transform(cloud),
    "normalized": preprocessing.Standardize().fit_transform(cloud),
}
figure, axes = plt.subplots(1, 3, figsize=(9.6, 3.4), layout="constrained")
for ax, (title, points) in zip(axes, clouds.items(), strict=True):
    ax.scatter(*points.T, s=8, alpha=0.6)
    ax.axhline(0, color="0.3", linewidth=1)
    ax.axvline(0, color="0.3", linewidth=1)
    ax.set(title=title, xlim=(-14, 14), ylim=(-14, 14), xticks=(-10, 0, 10), yticks=(-10, 0, 10))
    ax.set_aspect("equal")
    print(f"{title:14} mean {points.mean(axis=0).round(2) + 0}, std {points.std(axis=0).round(2)}")

# %%
# There is more that can be done to such a cloud: turn it until its features are uncorrelated, and
# even blow it up until it is round in every direction (whitening). For images that is not usual.
#
# **What one does about it.** Zero-centre always. Divide by the standard deviation where the
# features have different units, such as metres and years.

# %%
# All inputs positive: all gradients of one sign
# ----------------------------------------------
# What is wrong with inputs that are not centred? Look at one unit, ``f = w . x + b``. Its weights
# get the gradient ``dL/dw = x * dL/df``. The second factor is a single number for the whole unit.
# So if all of ``x`` are positive, all weights of the unit get gradients of one sign: they can only
# go up together or down together.
#
# Here are four units that see one image. :func:`fastnn.vjp` gives the gradients of the weights for
# a gradient at the output that we choose.

layer = nn.Linear(data.features, 4)
upstream = np.array([[1.0, -0.5, 2.0, -1.5]])
centre = preprocessing.ZeroCenter().fit(data.X_train)
image = data.X_train[:1]


def count_signs(inputs):
    """Prints how many weights of each unit have a positive and a negative gradient."""
    _, pullback = fastnn.vjp(layer, np.asarray(inputs, np.float32))
    pullback(upstream.astype(np.float32))
    for unit, gradient in enumerate(layer.weight.grad):
        print(
            f"  unit {unit}: {(gradient > 0).sum():4} positive, {(gradient < 0).sum():4} negative"
        )


print("raw pixels, from 0 to 255:")
count_signs(image)
print("zero-centred pixels:")
count_signs(centre.transform(image))

# %%
# With raw pixels no unit has gradients of both signs. (The other weights have a gradient of zero:
# paper is 0.) If the best weights lie where some must grow and others must shrink, the path there
# is a zig-zag. The same happens inside a network behind a sigmoid, whose outputs are all positive:
# see the first chapter.
#
# **What one does about it.** Subtract the mean, and every unit can turn each weight its own way.

# %%
# A narrow valley
# ---------------
# The second harm is in the shape of the loss. Take a linear unit with two weights and a squared
# error. Its loss is a bowl. The contour lines below are those of the bowl, and the red line is the
# path of gradient descent. A learning rate above 2 over the steepest curvature would explode; both
# descents take three quarters of that.
#
# The *condition number* is the ratio of the steepest to the flattest curvature. The steep direction
# limits the learning rate, and then the flat direction takes forever.

truth = np.array([1.0, -1.0])
targets = cloud @ truth


def descend(X, y, start, most=400):
    """The path of the weights, until the loss is a thousandth of the first; and the curvatures."""
    curvatures = np.linalg.eigvalsh(2 * X.T @ X / len(X))
    unit = nn.Linear(2, 1, bias=False)
    unit.weight.data[:] = start
    step = fastnn.TrainingStep(unit, nn.MSELoss(), optim.SGD(lr=1.5 / curvatures[-1]))
    path = [unit.weight.data[0].copy()]
    first = loss = step(X, y[:, None])
    while loss > first / 1000 and len(path) < most:
        path.append(unit.weight.data[0].copy())
        loss = step(X, y[:, None])
    return np.array(path), curvatures


figure, axes = plt.subplots(1, 2, figsize=(9.6, 4.2), layout="constrained")
cases = {"original data": (cloud, targets), "normalized": (clouds["normalized"], targets)}
for ax, (title, (X, y)) in zip(axes, cases.items(), strict=True):
    y = y - y.mean() if title == "normalized" else y
    goal = np.linalg.lstsq(X, y, rcond=None)[0]
    path, curvatures = descend(X, y, goal + [-1.4, 1.6])
    condition = curvatures[-1] / curvatures[0]
    print(f"{title:14} condition number {condition:6.1f}, {len(path) - 1:3} steps")
    w1, w2 = np.meshgrid(
        goal[0] + np.linspace(-2.2, 2.2, 120), goal[1] + np.linspace(-2.2, 2.2, 120)
    )
    errors = w1[..., None] * X[:, 0] + w2[..., None] * X[:, 1] - y
    ax.contour(w1, w2, np.log10((errors**2).mean(axis=-1)), 12, cmap="Blues_r", linewidths=0.9)
    ax.plot(*path.T, color="tab:red", marker="o", markersize=3, linewidth=1)
    ax.plot(*goal, color="black", marker="*", markersize=12)
    ax.set(title=f"{title}: {len(path) - 1} steps", xlabel="first weight", ylabel="second weight")
    ax.set_aspect("equal")

# %%
# The normalized bowl is not perfectly round, because the two features are correlated. But it is
# round enough: a few steps will do.
#
# **What one does about it.** Bring all features to the same size before the first step.

# %%
# Images: the mean image
# ----------------------
# Pixels have the same unit, so for images one subtracts a mean and leaves the relative sizes alone.
# There are two usual ways:
#
# * :class:`~fastnn.preprocessing.MeanImage`: a mean for each pixel, an image in itself (AlexNet);
# * :class:`~fastnn.preprocessing.ChannelMean`: one number for each colour channel (VGG). A
#   photograph has three, our digits have one.

side = data.side
images = data.X_train.reshape(-1, 1, side, side)
mean_image = preprocessing.MeanImage().fit(images)
channel_mean = preprocessing.ChannelMean().fit(images)
print("shape of the mean image:", mean_image.mean_.shape)
print("means of the channels:  ", channel_mean.mean_.round(2))

pictures = {
    "an image": (images[0, 0], "gray_r"),
    "the mean image": (mean_image.mean_[0], "gray_r"),
    "image - mean image": (mean_image.transform(images[:1])[0, 0], "RdBu_r"),
    "image - channel mean": (channel_mean.transform(images[:1])[0, 0], "RdBu_r"),
}
figure, axes = plt.subplots(1, 4, figsize=(9.6, 2.6), layout="constrained")
for ax, (title, (picture, colours)) in zip(axes, pictures.items(), strict=True):
    low = 0 if colours == "gray_r" else -255
    drawn = ax.imshow(picture, cmap=colours, vmin=low, vmax=255)
    ax.set_title(title, fontsize=10)
    ax.set_axis_off()
    figure.colorbar(drawn, ax=ax, orientation="horizontal", ticks=(low, 0, 255), shrink=0.9)

# %%
# After the subtraction a pixel is positive (red) where there is more ink than usual, and negative
# (blue) where there is less.
#
# **What one does about it.** Subtract the mean image, or the channels' means; then divide
# everything by the same number, 255.

# %%
# Pixels that are always the same
# -------------------------------
# Why not standardize each pixel? Because some pixels hardly ever change. At the border of an image
# there is only paper. A pixel that is constant has a standard deviation of zero, and nothing can be
# divided by it: fastnn divides such a feature by 1, and it becomes zero. But a pixel that is lit in
# one image out of thousands has a *tiny* standard deviation, and in that one image it becomes huge.

standardize = preprocessing.Standardize().fit(data.X_train)
constant = data.X_train.std(axis=0) == 0
print(f"constant pixels: {constant.sum()} of {data.features}")
for name, values in {
    "each pixel standardized": standardize.transform(data.X_train),
    "zero-centred, over 255": centre.transform(data.X_train) / 255,
}.items():
    print(f"{name}: largest value {np.abs(values).max():.1f}")

# %%
# **What one does about it.** Features of different units: standardize. Pixels: divide all by one
# number. Constant features tell nothing and may be left out.

# %%
# What it does to a training
# --------------------------
# Now we train the same small network on four versions of the same images. To be fair to each, we
# try many learning rates, from too small to too large. A training that explodes raises
# :class:`fastnn.TrainingDiverged`.

EPOCHS = 6


def train(X, lr):
    """The training loss by epoch; infinite where it explodes."""
    fastnn.manual_seed(0)
    model = models.mlp([data.features, 50, 10])
    trainer = fastnn.Trainer(model, nn.CrossEntropyLoss(), optim.SGD(lr=lr, momentum=0.9))
    try:
        return trainer.fit(X, data.y_train, EPOCHS, seed=0)["loss"]
    except fastnn.TrainingDiverged:
        return [np.inf] * EPOCHS


versions = {
    "raw, 0 to 255": data.X_train.astype(np.float32),
    "over 255": data.X_train.astype(np.float32) / 255,
    "zero-centred, over 255": centre.transform(data.X_train) / 255,
    "standardized": standardize.transform(data.X_train),
}
rates = np.geomspace(1e-6, 1, 13)
curves = {name: np.array([train(X, lr) for lr in rates]) for name, X in versions.items()}

figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.8), layout="constrained")
for name, losses in curves.items():
    last = losses[:, -1]
    best = last.argmin()
    print(f"{name:23} best learning rate {rates[best]:7.1g}, loss {last[best]:.4f}")
    left.plot(rates, np.minimum(last, 4), marker="o", markersize=4)
    label = f"{name}, rate {rates[best]:.1g}"
    right.plot(range(1, EPOCHS + 1), losses[best], marker="o", markersize=4, label=label)
left.set(xscale="log", ylim=(0, 3), xlabel="learning rate", ylabel=f"loss after {EPOCHS} epochs")
left.set_title("every learning rate")
right.set(yscale="log", xlabel="epoch", ylabel="loss", title="each at its best learning rate")
right.legend(fontsize=8)
for ax in (left, right):
    ax.grid(alpha=0.3)

# %%
# Raw pixels need a learning rate hundreds of times smaller, and even then they fall behind the
# centred ones. Their useful range, the dip in the left picture, is shallow; everything to its right
# is no better than chance, whose loss is log(10), about 2.3. Dividing by 255 mends the size,
# subtracting the mean mends the centre, and each of the two helps.
#
# **What one does about it.** If a network learns slowly at every learning rate, look at its inputs
# before anything else.

# %%
# The mean belongs to the training set
# ------------------------------------
# A subtle mistake: to compute the mean over *all* data, and to split off the test set afterwards.
# Then the training has seen something of the test set, and the test result is no longer honest. It
# is often a small error, but nobody can tell how small.
#
# Everything that is learned, the mean included, is learned from the training set alone, and then
# applied to the other sets as it is. :func:`~fastnn.diagnostics.preprocessing_check` finds a mean
# that was learned from both.

together = np.concatenate([data.X_train, data.X_test])
leaky = preprocessing.ZeroCenter(dtype=np.float64).fit(together)
honest = preprocessing.ZeroCenter(dtype=np.float64).fit(data.X_train)
for name, fitted in {"mean of both sets": leaky, "mean of the training set": honest}.items():
    X_train, X_test = fitted.transform(data.X_train) / 255, fitted.transform(data.X_test) / 255
    print(f"--- {name}")
    print(diagnostics.preprocessing_check(X_train, held_out=X_test))

# %%
# **What one does about it.** Split first. Then ``fit`` on the training set, and ``transform`` the
# validation set, the test set, and whatever comes in later, with the same object. Save it beside
# the weights (``centre.save("centre.npz")``): a network without its mean is not worth much.

# %%
# Let fastnn look
# ---------------
# All of this chapter is one call. For raw pixels it fails, and says what to do:

raw = diagnostics.preprocessing_check(data.X_train)
print(raw)
_ = raw.plot()

# %%
# For the prepared ones it passes:

prepared = diagnostics.preprocessing_check(centre.transform(data.X_train) / 255)
print(prepared)
_ = prepared.plot()

# %%
# In this picture the area is a histogram of all inputs, and the line one of the features' means.
# After zero-centring all means lie in one bar, at zero.
#
# **What one does about it.** Make this check the first cell of every notebook. Look at a few images
# as well: no check knows what a digit looks like.

plt.show()
