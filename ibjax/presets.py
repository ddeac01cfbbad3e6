"""Configurations to start from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from ibjax.config import Config

_RELEASED = Config(
    dataset="var_u",
    hidden_widths=(10, 7, 5, 4, 3),
    output="softmax",
    train_fraction=0.8,
    optimizer="adam",
    learning_rate=4e-4,
)  # what the two released codes share
_BASE_2 = np.logspace(np.log2(1), np.log2(8000), 400, base=2).astype(int)

PRESETS: Mapping[str, Config] = MappingProxyType(
    {
        "paper": Config(),
        "idnns": dataclasses.replace(
            _RELEASED,
            epochs=8000,
            logged_epochs=tuple((np.unique(_BASE_2) - 1).tolist()),
            split="ordered",
            batch_size=512,
            shuffle=False,
            compat="idnns",
        ),
        "saxe": dataclasses.replace(
            _RELEASED,
            logged_epochs=(*range(20), *range(20, 100, 5), *range(100, 2000, 20), *range(2000, 10_001, 100)),
            initializer="fan_out",
        ),
        "quick": Config(seeds=10, epochs=2000, logged_epochs=60, hidden_widths=(10, 7, 5, 4, 3)),
    }
)
"""Configurations to start from.

paper: Shwartz-Ziv & Tishby 2017. Its learning rate and batch size are not published. With batches of 256, means of 10
seeds, last hidden layer::

    rate    I(X;T) peaks at    I(T;Y) at 98% of its end    I(X;T) from the peak to the end
    0.05    epoch 189          epoch 574                   5.1 to 1.3 bits
    0.1     epoch 117          epoch 356                   5.2 to 1.2 bits
    0.2     epoch 73           epoch 259                   5.1 to 1.1 bits

0.1 it is: the paper's planes show the full relevant information at about 400 epochs. At all three rates the drift of
the gradients ends within tens of epochs, earlier than the 350 of the paper.

idnns: the authors' released code, its cells and its unshuffled split among the rest. It trains with Adam where the
paper says SGD, and logs before the update of an epoch, hence one less than the epochs it names.

saxe: the code of Saxe et al. 2018 (tanh; `activation="relu", bins=100` for its other network).

quick: the smaller network of those codes on the paper's task, seconds on a laptop.
"""
