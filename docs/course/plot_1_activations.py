r"""
1. Activations
==============

A fully connected layer multiplies its input by a matrix and adds a vector. Put two of them one
after the other and nothing is gained: a matrix times a matrix is again a matrix. What makes a
network more than one layer is the function between the layers, applied to every element: the
*activation*.

This chapter draws the activations that fastnn has, each with its derivative, and asks of each:

* does it **saturate**? Where the derivative is zero, nothing is learned;
* is its output **centred** at zero? If not, the weights of a unit in the next layer are all pulled
  in one direction;
* is it **cheap**?

At the end a deep network shows what the answers are worth.
"""

import itertools

import matplotlib.pyplot as plt
import numpy as np

import fastnn
from fastnn import nn, optim

fastnn.manual_seed(0)
rng = np.random.default_rng(0)

# %%
# Why there has to be one
# -----------------------
#
# Two layers without an activation, and the one layer that does the same: its matrix is the product
# of the two.

first, second = nn.Linear(64, 100), nn.Linear(100, 10)
one = nn.Linear(64, 10)
one.weight.data = second.weight.data @ first.weight.data
one.bias.data = second.weight.data @ first.bias.data + second.bias.data

x = rng.normal(size=(5, 64)).astype(np.float32)
difference = np.abs(nn.Sequential(first, second)(x) - one(x)).max()
print(f"two layers and one layer differ by at most {difference:.1e}")

# %%
# That is rounding, nothing else.
#
# How to read the pictures
# ------------------------
#
# Training goes backward through the network. What arrives at an activation is the gradient of the
# loss by its output; what leaves it is that gradient **times the derivative of the activation**. So
# we need the function and its derivative. `fastnn.vjp` gives both: the output of a module, and a
# function that pulls a gradient back through it. Pull back ones, and what comes out is the
# derivative.


def with_derivative(activation, x):
    """An activation and its derivative at each x."""
    y, pullback = fastnn.vjp(activation, x[:, np.newaxis])
    return y[:, 0], pullback(np.ones_like(y))[:, 0]


def draw(activation, name):
    x = np.linspace(-6, 6, 601)
    y, derivative = with_derivative(activation, x)
    _, axes = plt.subplots(1, 2, figsize=(8, 2.8), layout="constrained", sharex=True)
    for ax, values, title, color in (
        (axes[0], y, name, "tab:blue"),
        (axes[1], derivative, "its derivative", "tab:orange"),
    ):
        ax.axhline(0, color="0.8", linewidth=1)
        ax.axvline(0, color="0.8", linewidth=1)
        ax.plot(x, values, color=color, linewidth=2)
        ax.set_title(title)
        ax.set_xlabel("x")


def tell(activation, points):
    """Prints the function and its derivative at some points."""
    print("     x       f(x)      f'(x)")
    for x, y, derivative in zip(points, *with_derivative(activation, np.array(points))):
        print(f"{x:6.1f} {y:10.5f} {derivative:10.5f}")


# %%
# Sigmoid
# -------
#
# .. math:: \sigma(x) = \frac{1}{1 + e^{-x}}, \qquad \sigma'(x) = \sigma(x) (1 - \sigma(x))
#
# It squeezes any number between 0 and 1, and was read as the firing rate of a neuron.

draw(nn.Sigmoid(), "sigmoid")

# %%
tell(nn.Sigmoid(), [0.0, 2.0, 5.0, 10.0])

# %%
# **It saturates.** Only around zero is there a slope to speak of. At 5 the gradient that passes is
# less than a hundredth of the one that came, at 10 it is gone. And even where it is best, a quarter
# is the most that gets through: ten layers of it leave at the most 0.25 to the tenth.

print(f"{0.25**10:.1e}")

# %%
# **It is not centred.** All its outputs are positive, and they are the inputs of the next layer.
# The gradient of a weight is its input times the gradient of the unit. With positive inputs all
# weights of a unit get gradients of *one sign*: they can only all grow or all shrink together, and
# a step that needs some of both has to zigzag. Here is one unit that follows a sigmoid, and the
# same behind a tanh, which is centred; we count how many of the unit's 100 weights are pulled in
# the direction of the majority.

unit = nn.Linear(100, 1)
for activation in (nn.Sigmoid(), nn.Tanh()):
    inputs = activation(rng.normal(size=(1, 100)).astype(np.float32))
    output, pullback = fastnn.vjp(unit, inputs)
    pullback(np.ones_like(output))
    up = int((unit.weight.grad > 0).sum())
    print(f"{type(activation).__name__:8} {max(up, 100 - up)} of 100 in one direction")

# %%
# **It costs an exponential** for each element. Next to the matrix products that is little.
#
# It has its place at the *end* of a network that answers yes or no, where a probability is wanted
# (`fastnn.nn.BCEWithLogitsLoss` has it inside). Between layers there are better ones.
#
# Tanh
# ----
#
# .. math:: \tanh(x) = 2 \sigma(2 x) - 1, \qquad \tanh'(x) = 1 - \tanh^2(x)
#
# A sigmoid made twice as tall and moved down, so that it is centred.

draw(nn.Tanh(), "tanh")

# %%
tell(nn.Tanh(), [0.0, 2.0, 5.0, 10.0])

# %%
# At zero the gradient passes whole. But it still saturates on both sides, and earlier than the
# sigmoid.
#
# ReLU
# ----
#
# .. math::
#
#    f(x) = \max(0, x), \qquad
#    f'(x) = \begin{cases} 1 & x > 0 \\ 0 & x \le 0 \end{cases}
#
# The *rectified linear unit* throws away what is negative and leaves the rest as it is.

draw(nn.ReLU(), "ReLU")

# %%
# On the right it never saturates: the gradient passes whole however large x is. It is a comparison,
# the cheapest that there is. In large image networks it learned several times as fast as tanh
# (Krizhevsky et al., 2012). Two things speak against it: its outputs are not centred, and on the
# left the gradient is exactly zero.
#
# **Dead units.** Suppose that a large step has moved a unit so far that it is negative for *every*
# example. Then its gradient is zero for every example, no step moves it ever again, and it stays
# zero: it is dead. We train the same small network on the digits with a reasonable and with a
# reckless learning rate, and count the hidden units that are negative for all examples.

X, y = fastnn.datasets.digits()
X_train, X_test, y_train, y_test = fastnn.datasets.train_test_split(X, y, test_size=0.2, seed=0)
grey_train, grey_test = X_train / 16, X_test / 16  # from 0 to 1


def dead_units(activation, lr):
    fastnn.manual_seed(1)
    model = nn.Sequential(nn.Linear(64, 100), activation, nn.Linear(100, 10))
    trainer = fastnn.Trainer(model, nn.CrossEntropyLoss(), optim.SGD(lr=lr, momentum=0.9))
    trainer.fit(grey_train, y_train, epochs=10)
    silent = (model[0](grey_train) <= 0).all(axis=0).sum()
    accuracy = trainer.evaluate(grey_test, y_test)["accuracy"]
    print(f"{activation}, learning rate {lr}: {silent} of 100 units, accuracy {accuracy:.1%}")


dead_units(nn.ReLU(), lr=0.05)
dead_units(nn.ReLU(), lr=1.0)

# %%
# At the reckless rate most of the network is gone. So with ReLU mind the learning rate.
# `fastnn.diagnostics.Monitor` counts dead units while a training runs, and warns.
#
# Leaky ReLU
# ----------
#
# .. math::
#
#    f(x) = \begin{cases} x & x > 0 \\ a x & x \le 0 \end{cases}, \qquad
#    f'(x) = \begin{cases} 1 & x > 0 \\ a & x \le 0 \end{cases}
#
# A small slope on the left, by default :math:`a = 0.01`, and no unit can die: some gradient always
# passes. (Drawn with 0.1, so that it can be seen.)

draw(nn.LeakyReLU(0.1), "leaky ReLU, a = 0.1")

# %%
# At the reckless learning rate most units are pushed below zero here too. But there they still say
# a little, and still learn; the network is far better than the one with ReLU:

dead_units(nn.LeakyReLU(), lr=1.0)

# %%
# PReLU
# -----
#
# The same formula, but :math:`a` is a parameter and is trained like the weights, one for the whole
# layer or one for each channel. It starts at 0.25.

draw(nn.PReLU(), "PReLU, a = 0.25")

# %%
# What does training make of it? Two problems: the digits again, now standardized, and points in the
# plane that belong to one class inside a circle and to another outside.

standardize = fastnn.preprocessing.Standardize().fit(X_train)
X_train, X_test = standardize.transform(X_train), standardize.transform(X_test)
points = rng.normal(size=(2000, 2)).astype(np.float32)
inside = (np.hypot(points[:, 0], points[:, 1]) < 1.2).astype(int)

for name, inputs, labels in (("digits", X_train, y_train), ("circle", points, inside)):
    fastnn.manual_seed(0)
    model = nn.Sequential(
        *(nn.Linear(inputs.shape[1], 50), nn.PReLU()),
        *(nn.Linear(50, 50), nn.PReLU()),
        nn.Linear(50, labels.max() + 1),
    )
    for layer in (model[0], model[2], model[4]):
        nn.init.kaiming_normal_(layer.weight, a=0.25)
    trainer = fastnn.Trainer(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.01, momentum=0.9))
    trainer.fit(inputs, labels, epochs=20)
    accuracy = trainer.evaluate(inputs, labels)["accuracy"]
    slopes = [float(model[i].weight.data[0]) for i in (1, 3)]
    print(f"{name}: slopes {slopes[0]:.2f} and {slopes[1]:.2f}, training accuracy {accuracy:.1%}")

# %%
# A slope of 1 would be no bend at all. Straight cuts nearly suffice to tell the digits apart, and
# the network made itself nearly straight. A circle can't be cut out with straight lines; there the
# slopes went to zero and below, which bends more than ReLU does.
#
# ELU
# ---
#
# .. math::
#
#    f(x) = \begin{cases} x & x > 0 \\ \alpha (e^x - 1) & x \le 0 \end{cases}, \qquad
#    f'(x) = \begin{cases} 1 & x > 0 \\ \alpha e^x & x \le 0 \end{cases}
#
# The *exponential linear unit* lets a gradient pass on the left, but levels off at :math:`-\alpha`:
# far below zero a unit says "absent" and no longer how much. Its negative outputs bring the mean
# nearer to zero. The price is an exponential.

draw(nn.ELU(), "ELU, alpha = 1")

# %%
# How near? The mean output for a normal input:

normal = rng.normal(size=(100_000, 1))
for activation in (nn.Sigmoid(), nn.ReLU(), nn.LeakyReLU(), nn.ELU(), nn.Tanh()):
    print(f"{type(activation).__name__:10} {activation(normal).mean():6.3f}")

# %%
# Maxout
# ------
#
# .. math:: f(x) = \max(w_1^\top x + b_1, \; w_2^\top x + b_2, \; \ldots)
#
# Not a function between two layers, but a layer of its own kind: each unit computes several
# *pieces* and gives the largest. With weights 0 and 1 it is ReLU, with -1 and 1 the absolute value,
# and with more pieces it bends wherever training wants it to. Between its bends it is linear, so
# that it neither saturates nor dies.

unit = nn.Maxout(1, 1, pieces=3).astype(np.float64)
unit.weight.data = np.array([[-0.8], [0.1], [1.2]])
unit.bias.data = np.array([-2.0, 0.0, -2.0])
draw(unit, "a maxout unit of three pieces")

# %%
# The price is in the parameters, as many times as there are pieces:

for layer in (nn.Linear(100, 100), nn.Maxout(100, 100, pieces=2), nn.Maxout(100, 100, pieces=3)):
    count = sum(parameter.size for parameter in layer.parameters())
    print(f"{count:6,} parameters: {layer}")

# %%
# A deep network
# --------------
#
# Now the derivatives are multiplied, layer after layer. Ten hidden layers of 100 units, each time
# with the initial weights that suit the activation (that is :doc:`chapter 3
# <plot_3_initialization>`), and the gradient of the loss by the weights of each layer, for one
# batch, before any training.

DEPTH = 10
ACTIVATIONS = {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "ReLU": nn.ReLU}


def deep_network(activation):
    widths = [64] + DEPTH * [100] + [10]
    layers = []
    for inputs, outputs in itertools.pairwise(widths):
        layer = nn.Linear(inputs, outputs)
        if activation is nn.ReLU:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        else:
            nn.init.xavier_normal_(layer.weight)
        nn.init.zeros_(layer.bias)
        layers += [layer, activation()]
    return nn.Sequential(*layers[:-1])


norms = {}
for name, activation in ACTIVATIONS.items():
    fastnn.manual_seed(0)
    model = deep_network(activation)
    step = fastnn.TrainingStep(model, nn.CrossEntropyLoss())
    step.forward(X_train[:256], y_train[:256])
    step.backward()
    norms[name] = [
        np.linalg.norm(layer.weight.grad) for layer in model if isinstance(layer, nn.Linear)
    ]
    print(f"{name:8} first layer {norms[name][0]:.1e}, last layer {norms[name][-1]:.1e}")

figure, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
for name, values in norms.items():
    ax.semilogy(range(1, len(values) + 1), values, marker="o", label=name)
ax.set_xlabel("layer, from the input")
ax.set_xticks(range(1, DEPTH + 2))
ax.set_ylabel("norm of the weights' gradient")
ax.set_title("Gradients in a network of ten hidden layers")
ax.grid(alpha=0.3)
ax.legend()

# %%
# With the sigmoid each layer nearer to the input gets a smaller gradient than the one after it; the
# first layers hear next to nothing of the loss. That is the *vanishing gradient*. With tanh and
# ReLU all layers get gradients of about one size.
#
# Is it as bad as it looks? Train all three in the same way:

figure, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
for name, activation in ACTIVATIONS.items():
    fastnn.manual_seed(0)
    trainer = fastnn.Trainer(
        deep_network(activation), nn.CrossEntropyLoss(), optim.SGD(lr=0.01, momentum=0.9)
    )
    history = trainer.fit(X_train, y_train, epochs=20, validation_data=(X_test, y_test))
    ax.plot(range(1, 21), history["val_accuracy"], marker="o", markersize=3, label=name)
    print(f"{name:8} accuracy on unseen digits {history['val_accuracy'][-1]:.1%}")
ax.set_xlabel("epoch")
ax.set_xticks(range(0, 21, 5))
ax.set_ylabel("accuracy on unseen digits")
ax.set_ylim(0, 1)
ax.grid(alpha=0.3)
ax.legend()

# %%
# With ten classes a guess is right one time in ten. The sigmoid network has not learned anything.
#
# What to use
# -----------
#
# ==================================  =========  =======  ====================================
# activation                          saturates  centred  remarks
# ==================================  =========  =======  ====================================
# `fastnn.nn.Sigmoid`                 both ends  no       only where a probability is wanted
# `fastnn.nn.Tanh`                    both ends  yes      in place of the sigmoid
# `fastnn.nn.ReLU`                    left       no       the first to try; units can die
# `fastnn.nn.LeakyReLU`               no         no       no unit dies
# `fastnn.nn.PReLU`                   no         no       its slope is learned
# `fastnn.nn.ELU`                     far left   nearly   an exponential for each element
# `fastnn.nn.Maxout`                  no         --       pieces times as many parameters
# ==================================  =========  =======  ====================================
#
# Start with **ReLU** and mind the learning rate. Try **leaky ReLU, PReLU, ELU or Maxout** if units
# die or the last half percent counts. Use **tanh** where outputs between -1 and 1 are wanted.
# Between layers, leave the **sigmoid** out.
#
# Try it yourself
# ---------------
#
# * Let ``dead_units`` train on the standardized digits, which are centred. How many units die now?
# * Put ``nn.BatchNorm1d(100)`` before each sigmoid of the deep network. Does it learn now?
