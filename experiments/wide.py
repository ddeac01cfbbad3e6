"""A wide network in the information plane: 784-1024-20-20-20-10, as Saxe et al. 2018 trained it on MNIST's digits.

Without a download: scikit-learn's digits (`pip install "ibjax[digits]"`), their 8 x 8 pixels enlarged to 28 x 28, which
has the sizes and the cost of MNIST, not its difficulty. In the wide layers every pattern has a cell to itself: their
I(X;T) stays at log2 of the number of patterns, whatever the network learns.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

import common
import numpy as np

import ibjax
from ibjax import figures

NAME = "wide"
SIZE = 28


def enlarge(patterns: int) -> ibjax.Dataset:
    """The first digits, each pixel repeated over the nearest of 28 x 28."""
    digits = ibjax.digits_dataset()
    nearest = np.arange(SIZE) * 8 // SIZE
    images = digits.inputs[:patterns].reshape(-1, 8, 8)[:, nearest][:, :, nearest]
    return ibjax.Dataset(images.reshape(len(images), SIZE * SIZE), digits.p_y_given_x[:patterns])


def main(argv: Sequence[str] | None = None) -> int:
    """Train ReLU and tanh units, draw, write the trajectories and the figure."""
    options = common.parser(__doc__).parse_args(argv)
    options.out.mkdir(parents=True, exist_ok=True)
    task = enlarge(200 if options.quick else 1000)
    whole, axes = figures.side_by_side(2, height=3.0)
    with figures.style():
        for ax, activation in zip(axes, ("tanh", "relu"), strict=True):
            config = ibjax.Config(
                seeds=options.seeds or (1 if options.quick else 5),
                epochs=2 if options.quick else 300,
                logged_epochs=30,
                hidden_widths=(64, 20) if options.quick else (1024, 20, 20, 20),
                activation=activation,
                output="softmax",
                batch_size=128,
            )
            began = time.perf_counter()
            trajectory = ibjax.run(config, dataset=task, progress=sys.stderr.isatty())
            trajectory.save(options.out / f"{NAME}_{activation}.npz")
            figures.information_over_epochs(trajectory, ax=ax)
            ax.set_title(activation)
            accuracy = trajectory.test_accuracy[:, -1].mean()
            print(f"{activation}: test accuracy {accuracy:.3f}, {time.perf_counter() - began:.0f} s")
    whole.savefig(options.out / f"{NAME}.png", dpi=200)
    return 0


if __name__ == "__main__":
    sys.exit(main())
