"""Inference."""

from .common import examples, network

WIDTHS = (784, 100, 10)


class Inference:
    """784-100-10."""

    params = [1, 1024]
    param_names = ["batch"]

    def setup(self, batch: int) -> None:
        self.model = network(WIDTHS, False).eval()
        self.x, _ = examples(WIDTHS, batch)
        self.model(self.x)

    def time_inference(self, batch: int) -> None:
        self.model(self.x)

    def peakmem_inference(self, batch: int) -> None:
        self.model(self.x)
