"""
3. Initialization
=================

Before the first step all weights are random. How large should they be? It looks like a detail, and
it decides whether a deep network learns at all. This chapter sends inputs through a network of ten
layers of 500 units, with one kind of initial weights after the other, and looks at what arrives.
"""

import matplotlib.pyplot as plt
import numpy as np
from handwriting import load  # the folder beside this script

import fastnn
from fastnn import diagnostics, models, nn, optim, preprocessing

fastnn.manual_seed(0)
data = load(5000)
print(data)
X = preprocessing.ZeroCenter().fit_transform(data.X_train) / 255
y = data.y_train

# %%
# All zeros, and all alike
# ------------------------
# The first idea: nobody knows in which direction a weight will go, so start all of them at zero. Or
# all of them at the same small number. Let us train such a network, and count how many different
# units there are in its hidden layer.

for start in ("all weights 0", "all weights 0.01", "random"):
    fastnn.manual_seed(0)
    model = models.mlp([data.features, 50, 10])
    if start != "random":
        for layer in (model[0], model[2]):
            nn.init.constant_(layer.weight, float(start.split()[-1]))
            nn.init.zeros_(layer.bias)
    trainer = fastnn.Trainer(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.05, momentum=0.9))
    accuracy = trainer.fit(X, y, epochs=5, seed=0)["accuracy"][-1]
    units = len(np.unique(model[0].weight.data, axis=0))
    print(f"{start:17} {units:2} different units of 50, training accuracy {accuracy:.3f}")

# %%
# Units with equal weights compute the same, get the same gradient, make the same step, and stay
# equal for ever: fifty units that do the work of one. With zeros it is even worse: nothing moves
# but the last bias.
#
# **What one does about it.** Break the symmetry: draw the weights at random. (Biases may all be
# zero.)

# %%
# Small random numbers
# --------------------
# The second idea: numbers from a normal distribution with a standard deviation of 0.01. That works
# for small networks. :func:`~fastnn.diagnostics.initialization_study` shows what it does to a deep
# one, with tanh. Each picture is a histogram of the outputs of one layer, the first on the left.
# Above it stands their standard deviation as it was measured, and in parentheses what theory says.

study = diagnostics.initialization_study(depth=10, width=500, schemes=["0.01 normal"])
_ = study.plot()

# %%
# The outputs collapse: after a few layers all of them are zero. And the gradients? The gradient of
# a weight is the layer's input times the gradient of its output. If the inputs are zero, the
# weights get no gradient; and on its way back through small weights the gradient shrinks as well.
# The network stands still.

# %%
# Large random numbers
# --------------------
# Then larger ones: a standard deviation of 1.

study = diagnostics.initialization_study(depth=10, width=500, schemes=["1.0 normal"])
_ = study.plot()

# %%
# Now almost all units are at -1 or 1, the flat ends of tanh. They are *saturated*: their slope is
# nearly zero, and so is the gradient that passes through them. The few units in between pass theirs
# on through weights that are far too large. Here is the spread of the gradient, from the last layer
# back to the first; at the last it started with 1:

print(" ".join(f"{gradient:.2g}" for gradient in reversed(study.data["1.0 normal"]["gradient"])))

# %%
# First it is swallowed, then it is blown up: the first layers get a gradient that is zero for
# nearly all units and enormous for a few.
#
# **What one does about it.** Neither too small nor too large. But what is "just right"?

# %%
# What theory says
# ----------------
# A unit adds up ``n`` products, ``z = w1 x1 + ... + wn xn``. If all of them are independent, with a
# mean of zero, their variances add up:
#
# .. math:: \operatorname{Var}(z) = n \operatorname{Var}(w) \operatorname{E}(x^2)
#
# The variance stays as it is if ``n Var(w) = 1``, that is, if the weights have a standard deviation
# of ``1 / sqrt(n)``. That is *Xavier's* initialization (Glorot and Bengio, 2010). A layer with many
# inputs gets smaller weights.

study = diagnostics.initialization_study(depth=10, width=500, schemes=["Xavier"])
_ = study.plot()

# %%
# The outputs fill the whole range in every layer. They still shrink a little from layer to layer,
# because tanh itself makes numbers smaller. The theory takes tanh into account, and agrees with the
# measurement to a few percent at the last layer:

print(f"measured {study.data['Xavier']['std'][-1]:.4f}")
print(f"theory   {study.data['Xavier']['theory'][-1]:.4f}")

# %%
# **What one does about it.** Xavier's weights for tanh: ``nn.init.xavier_normal_(layer.weight)``.
# (For ``n`` it takes the mean of the layer's inputs and outputs, because the gradients come in
# through the outputs, and should keep their size too.)

# %%
# ReLU needs twice the variance
# -----------------------------
# ReLU sets half of its inputs to zero. That halves ``E(x^2)`` in each layer. He, Zhang, Ren and Sun
# (2015) put the factor of two back: ``Var(w) = 2 / n``.

relu_study = diagnostics.initialization_study(activation="relu", schemes=["Xavier", "He"])
_ = relu_study.plot()

# %%
# Mind the numbers above the histograms. With Xavier's weights the outputs shrink by about
# :math:`\sqrt 2` in each layer, with He's they keep their size. All schemes in one picture, with
# theory as dashed lines:

figure, axes = plt.subplots(1, 2, figsize=(9.6, 3.8), layout="constrained", sharey=True)
layers = range(1, 11)
for ax, activation in zip(axes, ("tanh", "relu"), strict=True):
    study = diagnostics.initialization_study(activation=activation)
    for colour, (scheme, found) in enumerate(study.data.items()):
        if scheme != "zeros":
            ax.plot(
                layers, found["std"], color=f"C{colour}", marker="o", markersize=4, label=scheme
            )
            ax.plot(layers, found["theory"], color=f"C{colour}", linestyle="--", linewidth=1)
    ax.set(yscale="log", ylim=(1e-6, 1e6), xlabel="layer", title=activation)
    ax.grid(alpha=0.3)
axes[0].set_ylabel("standard deviation of outputs")
axes[0].legend(fontsize=8, loc="upper left")

# %%
# The table of the study has the gradients too. They take the other way, from the last layer to the
# first. What is lost in one direction is lost in the other too: where the outputs collapse, the
# gradients that reach the first layer are tiny; where the outputs explode, so do the gradients.

print(relu_study)

# %%
# **What one does about it.** He's weights for ReLU:
# ``nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")``.

# %%
# Does it matter for the training?
# --------------------------------
# Ten layers on the digits, with ReLU, trained with each kind of weights. There is one more in the
# list: what a layer gets if you say nothing. fastnn takes PyTorch's defaults, uniform numbers with
# a variance of ``1 / (3 n)``. That is a third of Xavier's variance and a sixth of He's.


schemes = {
    "0.01 normal": lambda n: 0.01,
    "PyTorch's default": None,
    "Xavier": lambda n: (1 / n) ** 0.5,
    "He": lambda n: (2 / n) ** 0.5,
}


def build(name):
    """The deep network; `schemes` gives the standard deviation for the inputs of a unit."""
    fastnn.manual_seed(0)
    model = models.mlp([data.features] + 10 * [100] + [10])
    if schemes[name] is not None:
        for module in model.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=schemes[name](module.in_features))
                nn.init.zeros_(module.bias)
    return model


loss = nn.CrossEntropyLoss()
figure, ax = plt.subplots(figsize=(7.5, 3.6), layout="constrained")
for name in schemes:
    trainer = fastnn.Trainer(build(name), loss, optim.SGD(lr=0.02, momentum=0.9))
    losses = trainer.fit(X, y, epochs=8, seed=0)["loss"]
    print(f"{name:17} training loss {losses[-1]:.4f}")
    style = "--" if name == "PyTorch's default" else "-"
    ax.plot(range(1, 9), losses, style, marker="o", markersize=4, label=name)
ax.set(xlabel="epoch", ylabel="training loss", title="a network of ten hidden layers")
ax.grid(alpha=0.3)
ax.legend(fontsize=8)

# %%
# He's weights learn fastest, and Xavier's learn later. The other two do not move from log(10),
# about 2.3, the loss of chance. So the default, which serves a network of two or three layers well,
# is too small for a deep one.
#
# **What one does about it.** In a deep network say how the weights start, or use batch
# normalization: the next chapter.

# %%
# Let fastnn look
# ---------------
# :func:`~fastnn.diagnostics.activation_statistics` makes the same histograms for your own network
# on your own data, and gives a verdict for each layer.

_ = diagnostics.activation_statistics(build("0.01 normal"), loss, X, y).plot()
check = diagnostics.activation_statistics(build("He"), loss, X, y)
_ = check.plot()
print(check)

# %%
# **What one does about it.** Make this check whenever the network has changed. It is
# quick, and a network that starts wrong costs hours.

plt.show()
