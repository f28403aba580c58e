"""Training steps."""

from .common import examples, training_step

NETWORKS = {
    "20-32-2": ((20, 32, 2), False, 32),
    "784-100-10": ((784, 100, 10), False, 64),
    "784-bn100x5-10": ((784, 100, 100, 100, 100, 100, 10), True, 64),
    "3072-bn512x3-10": ((3072, 512, 512, 512, 10), True, 128),
}
EPOCH_BATCHES = 200


class Step:
    """Forward, backward and update of a batch, by one call."""

    params = list(NETWORKS)
    param_names = ["network"]

    def setup(self, name: str) -> None:
        widths, batch_norm, batch = NETWORKS[name]
        self.x, self.y = examples(widths, batch)
        self.step = training_step(widths, batch_norm)
        self.step(self.x, self.y)

    def time_step(self, name: str) -> None:
        self.step(self.x, self.y)

    def peakmem_step(self, name: str) -> None:
        self.step(self.x, self.y)


class Epoch:
    """200 batches by one call."""

    def setup(self) -> None:
        widths, batch_norm, self.batch = NETWORKS["20-32-2"]
        self.x, self.y = examples(widths, EPOCH_BATCHES * self.batch)
        self.step = training_step(widths, batch_norm)
        self.time_epoch()

    def time_epoch(self) -> None:
        self.step.epoch(self.x, self.y, batch_size=self.batch)


class Compile:
    """From a network to the end of its first step."""

    def setup(self) -> None:
        self.widths, self.batch_norm, batch = NETWORKS["784-bn100x5-10"]
        self.x, self.y = examples(self.widths, batch)

    def time_first_step(self) -> None:
        training_step(self.widths, self.batch_norm)(self.x, self.y)
