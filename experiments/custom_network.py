"""A custom network in the information plane: a flax module, on handwritten digits, with and without their labels.

The digits are those of scikit-learn (`pip install "ibjax[digits]"`), 1797 patterns of 64 pixels; the second run learns
labels drawn at random. Layers have the names that the module gives them. Measured on the training patterns.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import common
import flax.linen as nn
import jax
import optax

import ibjax
from ibjax import figures

NAME = "custom_network"


class Residual(nn.Module):  # type: ignore[misc]  # flax is not typed here
    """Two blocks around which the signal may pass, a bottleneck of two units, ten classes."""

    @nn.compact  # type: ignore[untyped-decorator]
    def __call__(self, x: jax.Array) -> tuple[jax.Array, list[jax.Array]]:
        activations = []
        a = nn.tanh(nn.Dense(12, name="embedding")(x))
        activations.append(a)
        for block in ("first", "second"):
            a = a + nn.tanh(nn.Dense(12, name=block)(a))
            activations.append(a)
        a = nn.tanh(nn.Dense(2, name="bottleneck")(a))
        logits = nn.Dense(10, name="classes")(a)
        return logits, [*activations, a, nn.softmax(logits)]


def runs(quick: bool, seeds: int | None) -> dict[str, ibjax.Trajectory]:
    """The digits, and the same with labels at random."""
    epochs = 30 if quick else 3000
    config = ibjax.Config(
        seeds=seeds or (2 if quick else 10), epochs=epochs, logged_epochs=60, batch_size=128, measure_on="train"
    )
    digits = ibjax.digits_dataset()
    tasks = {"digits": digits, "labels at random": digits.with_random_labels(0)}
    return {
        label: ibjax.run(
            config, dataset=task, network=Residual(), optimizer=optax.adam(1e-3), progress=sys.stderr.isatty()
        )
        for label, task in tasks.items()
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Train, draw, write both trajectories and the figure."""
    options = common.parser(__doc__).parse_args(argv)
    options.out.mkdir(parents=True, exist_ok=True)
    trajectories = runs(options.quick, options.seeds)
    whole, axes = figures.side_by_side(len(trajectories), height=3.0)
    with figures.style():
        for ax, (label, trajectory) in zip(axes, trajectories.items(), strict=True):
            trajectory.save(options.out / f"{NAME}_{label.replace(' ', '_')}.npz")
            figures.information_over_epochs(trajectory, ax=ax)
            ax.set_title(label)
            reached = {part: getattr(trajectory, f"{part}_accuracy")[:, -1].mean() for part in ("train", "test")}
            print(f"{label}: accuracy {reached['train']:.3f} in training, {reached['test']:.3f} in test")
    whole.savefig(options.out / f"{NAME}.png", dpi=200)
    return 0


if __name__ == "__main__":
    sys.exit(main())
