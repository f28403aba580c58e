"""
6. Hyperparameter search
========================

The learning rate, the regularization, the size of the network: numbers that a training does not
learn by itself. They are found by trying. There are good and bad ways of trying, and this chapter
compares them on the digits.
"""

import tempfile
import textwrap
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from handwriting import load  # the folder beside this script

import fastnn
from fastnn import models, nn, optim, preprocessing, search

data = load(5000)
print(data)

# %%
# What is needed
# --------------
# Three things. A function ``build`` that takes a dict of hyperparameters and returns a model, a
# loss and an optimizer. A *space* that says what may be tried. And data to judge by, that the
# training does not see: *validation* data. The test set is not for this. It is looked at once, at
# the end.
#
# The preprocessing is given as well, so that the mean is that of the training part of the data and
# of nothing else. (The division by 255 learns nothing, so it may be done before.)

X, y = data.X_train.astype(np.float32) / 255, data.y_train
settings = {"preprocessing": preprocessing.ZeroCenter, "validation": 0.2}


def build(params):
    """A network of one hidden layer."""
    model = models.mlp([data.features, params.get("hidden", 50), 10])
    optimizer = optim.SGD(lr=params["lr"], momentum=0.9, weight_decay=params["weight_decay"])
    return model, nn.CrossEntropyLoss(), optimizer


# %%
# Search in log space
# -------------------
# A learning rate acts as a factor. From 0.001 to 0.002 is as much of a change as from 0.1 to 0.2.
# So draw its *logarithm* evenly: ``10 ** uniform(-5, 1)``. Draw the rate itself evenly, and nine of
# ten draws lie in the top decade:

rng = np.random.default_rng(0)
draws = {"evenly": rng.uniform(1e-5, 10, 1000), "in log space": 10 ** rng.uniform(-5, 1, 1000)}
figure, axes = plt.subplots(1, 2, figsize=(9, 2.8), layout="constrained", sharey=True)
decades = 10.0 ** np.arange(-5, 2)
for ax, (name, values) in zip(axes, draws.items(), strict=True):
    ax.hist(values, bins=decades, edgecolor="white")
    ax.set(xscale="log", xlabel="learning rate", title=f"drawn {name}")
    print(f"{name:12} by decade:", np.histogram(values, decades)[0])
axes[0].set_ylabel("draws")

# %%
# fastnn takes a plain range ``(1e-5, 10.0)`` in log space if its name is that of a learning rate or
# a regularization, and says so. For anything else you can give a distribution of SciPy.
#
# **What one does about it.** Log space for everything that acts as a factor: learning rates,
# regularization, often sizes. Not for a dropout or a momentum.

# %%
# Random against the grid
# -----------------------
# Twenty-five trainings can be spent in two ways: on a grid of five by five values, or on
# twenty-five random points. Here are both, over the same ranges.

space = {"lr": (1e-5, 10.0), "weight_decay": (1e-6, 1.0)}
grid = search.grid_search(build, space, X, y, n_trials=25, epochs=3, **settings)
random = search.random_search(build, space, X, y, n_trials=25, epochs=3, **settings)
for name, result in (("grid", grid), ("random", random)):
    tried = {trial.params["lr"] for trial in result.trials}
    best = result.best
    print(
        f"{name:6} {len(tried):2} learning rates tried, best accuracy {best.score:.4f} at "
        f"lr {best.params['lr']:.2g}, weight decay {best.params['weight_decay']:.2g}"
    )
_ = random.plot_random_versus_grid(x="lr", y="weight_decay")

# %%
# The learning rate matters much more than the weight decay. The grid spends its twenty-five
# trainings on five learning rates, each tried five times with hardly a difference. The random
# points try twenty-five of them (the red lines). The curve above says how good a learning rate is;
# the grid sees five points of it, and steps over the top if it lies in between.
#
# That is luck, then: a grid that lies a little differently may hit the top. So let us move the
# grid, and compare with random searches of the same ranges.

found: dict[str, list[float]] = {"grid": [], "random": []}
for i, shift in enumerate(10 ** np.linspace(0, 1.5, 6, endpoint=False)):
    moved = {"lr": (1e-5 / shift, 100 / shift), "weight_decay": (1e-6, 1.0)}
    result = search.grid_search(build, moved, X, y, n_trials=25, epochs=3, **settings)
    found["grid"].append(result.best.score)
    result = search.random_search(build, moved, X, y, n_trials=25, epochs=3, seed=i, **settings)
    found["random"].append(result.best.score)

figure, ax = plt.subplots(figsize=(7.5, 2), layout="constrained")
for name, scores in found.items():
    ax.scatter(scores, [name] * len(scores), s=40, alpha=0.7)
    print(f"{name:6} worst {min(scores):.4f}, mean {np.mean(scores):.4f}, best {max(scores):.4f}")
ax.set(xlabel="best validation accuracy of 25 trials", ylim=(-0.5, 1.5))
ax.grid(alpha=0.3)

# %%
# Sometimes the grid wins. But what it finds depends on where it happens to lie, and its bad cases
# are worse. In a search with more hyperparameters the difference grows: five values of each of four
# would take 625 trainings.
#
# **What one does about it.** Random points (Bergstra and Bengio, 2012). A grid is for lists of two
# or three values that one wants to compare.

# %%
# Look at all trials
# ------------------
# The best trial alone says little. The result can be printed, and drawn: first the course's
# picture, each trial a point in the plane of learning rate and regularization, its colour the
# validation accuracy.

space = {"lr": (1e-5, 10.0), "weight_decay": (1e-6, 1.0), "hidden": (8, 128)}
result = search.random_search(build, space, X, y, n_trials=80, epochs=3, **settings)
print(result)
_ = result.plot_scatter()

# %%
# A cross is a training that exploded. fastnn ends such a training after a few batches, as soon as
# its loss is three times the first one. The good trials lie together in a region. That is how it
# should be: a single good point among bad ones would be chance.
#
# Then the effect of each hyperparameter by itself, whatever the others were:

figure, axes = plt.subplots(1, 3, figsize=(10, 3.6), layout="constrained", sharey=True)
_ = result.plot_marginals(axes)
for ax in axes[1:]:
    ax.set_ylabel("")

# %%
# Above each stands how much of the order of the trials it explains. The learning rate decides most.
#
# **What one does about it.** Look at the pictures before you narrow a range, and spend the trials
# on what matters.

# %%
# Mind the borders
# ----------------
# If the best value lies at the end of its range, the true best may lie beyond, and you would never
# know. :func:`~fastnn.search.coarse_to_fine` looks at that: it moves the range on, and warns. Here
# the range of learning rates was chosen too low on purpose.

too_low = {"lr": (1e-4, 1e-2), "weight_decay": (1e-6, 1e-3)}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    stages = [(20, 3), (10, 3), (10, 3)]
    result = search.coarse_to_fine(build, too_low, X, y, stages=stages, seed=5, **settings)
for warning in caught:
    print(textwrap.fill(f"{warning.category.__name__}: {warning.message}", 90))
print(f"in the end: accuracy {result.best.score:.4f} at lr {result.best.params['lr']:.2g}")

# %%
# (Where a hyperparameter hardly matters, its best value is chance, and may land at a border too.)
#
# **What one does about it.** Take such a warning seriously, and begin with wide ranges.

# %%
# From coarse to fine
# -------------------
# That function is the course's strategy as a whole. First many short trainings over wide ranges,
# which only tell what does not work at all. Then fewer and longer ones, where the best were.

wide = {"lr": (1e-6, 100.0), "weight_decay": (1e-7, 1.0)}
fine = search.coarse_to_fine(build, wide, X, y, stages=[(30, 1), (15, 3), (8, 10)], **settings)
for stage, narrowed in enumerate(fine.spaces):
    scores = [t.score for t in fine.trials if t.stage == stage and t.score is not None]
    print(f"stage {stage}: {len(scores)} trials finished, median accuracy {np.median(scores):.4f}")
    for name, dimension in narrowed.items():
        print(f"         {name}: {dimension}")
best = fine.best
print(
    f"best: accuracy {best.score:.4f} at lr {best.params['lr']:.2g}, weight decay "
    f"{best.params['weight_decay']:.2g}"
)
figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained", sharey=True)
_ = fine.plot_marginals(axes)

# %%
# Each stage (a colour) lies in a narrower range than the one before, around its best, and its
# trainings are better as a whole.
#
# **What one does about it.** Two or three stages. One epoch is enough to see what explodes or does
# not move.

# %%
# Give up early
# -------------
# Most trials are hopeless, and one could have seen it after an epoch. *Successive halving* trains
# all of them for one epoch, the best third for three, and the best third of those for nine.

halved = search.random_search(build, wide, X, y, n_trials=27, epochs=9, halving=3, **settings)
for rung, (count, epochs) in enumerate(search.SuccessiveHalving(3).rungs(27, 9)):
    print(f"rung {rung}: {count:2} trials of {epochs} epochs")
print("epochs at most: ", sum(trial.epochs for trial in halved.trials), "instead of", 27 * 9)
print(f"best accuracy:   {halved.best.score:.4f}")

# %%
# **What one does about it.** ``halving=3`` where trainings are long. Without it,
# ``early_stopping``, which is on, ends a training that does not get better for five epochs.

# %%
# How sure is the result?
# -----------------------
# A validation accuracy is an estimate too, and the best of many estimates is a lucky one. *Cross
# validation* cuts the data into folds, trains as often as there are folds, and holds out another
# fold each time. The spread between the folds tells which differences mean something.

params = fine.best.params
folds = search.cross_validate(
    build, params, X, y, epochs=10, cv=5, preprocessing=preprocessing.ZeroCenter
)
print(folds)

# %%
# Two choices of hyperparameters that differ by less than this spread are equally good, as far as
# anybody can tell. (``random_search(..., cv=5)`` judges every trial so. It takes five times as
# long, which for small data is well spent.)
#
# At the very end, and once: the best hyperparameters, all training data, the test set.

fastnn.manual_seed(0)
centre = preprocessing.ZeroCenter().fit(X)
trainer = fastnn.Trainer(*build(params))
trainer.fit(centre.transform(X), y, epochs=10, seed=0)
test = trainer.evaluate(centre.transform(data.X_test.astype(np.float32) / 255), data.y_test)
print(f"test accuracy {test['accuracy']:.4f}")

# %%
# **What one does about it.** Never choose by the test set. Who looks at it twice has made it a
# validation set.

# %%
# Long searches
# -------------
# A search may take a night, and nights have power cuts. With a *journal* each finished trial is
# written to a file at once. A search that finds its journal reads what is there, and goes on.

space = {"lr": (1e-4, 1.0), "weight_decay": (1e-6, 1e-2)}
with tempfile.TemporaryDirectory() as folder:
    journal = Path(folder) / "search.jsonl"
    for n_trials in (10, 20):
        started = time.perf_counter()
        result = search.random_search(
            build, space, X, y, n_trials=n_trials, epochs=3, journal=journal, **settings
        )
        seconds = time.perf_counter() - started
        lines = len(journal.read_text().splitlines())
        print(f"{n_trials} trials: {seconds:.2f} s, {lines} lines in the journal")
    started = time.perf_counter()
    again = search.random_search(
        build, space, X, y, n_trials=20, epochs=3, journal=journal, **settings
    )
    print(f"once more: {time.perf_counter() - started:.2f} s")

# %%
# (The first line of a journal says what is searched.) The second search did the ten new trials
# only, and the third none. And a search may run on many cores or machines: ``executor`` takes
# anything with the interface of Python's ``concurrent.futures``, such as a pool of processes, Dask
# or MPI. Trial number 7 draws its hyperparameters, its weights and the order of its examples from
# the seed and the number 7. So the result is the same, bit by bit, whoever computes it and in
# whatever order:

with ThreadPoolExecutor(3) as executor:
    elsewhere = search.random_search(
        build, space, X, y, n_trials=20, epochs=3, executor=executor, **settings
    )
print("the same result:", elsewhere.to_dict() == result.to_dict() == again.to_dict())

# %%
# (For a pool of processes ``build`` has to be a function of a module, so that it can be sent.)
#
# **What one does about it.** Always give a journal, and a seed that you write down.

plt.show()
