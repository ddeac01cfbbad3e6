"""A short run of each preset against stored arrays: whether the numbers of today are those of yesterday.

Other tests compare runs with each other, or with a reference that draws by the same keys; here are absolute numbers, so
that labels, splits, weights and batch orders cannot change unseen. The random streams are the same in every jax from
0.8.1 to 0.12.

    python tests/test_golden.py

stores the arrays anew. That is for a change whose purpose is other numbers, or for a jax that draws others, and the
changelog says so.

Shapes: S seeds, E logged epochs, L layers, N patterns.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
import numpy.typing as npt
import pytest

import ibjax
from ibjax import PRESETS
from ibjax.npz import write_arrays

FILE = Path(__file__).parent / "golden.npz"
EPOCHS = (0, 1, 4)
SEEDS = (0, 7, 4096)
MEASURED = (
    "i_xt",
    "i_ty",
    "train_loss",
    "test_loss",
    "train_accuracy",
    "test_accuracy",
    "gradient_mean",
    "gradient_std",
    "weight_norm",
)


def arrays(preset: str) -> dict[str, npt.NDArray[Any]]:
    """What is compared of a preset: the split of each network, all that is measured, and of one preset the weights.

    The others' programs are those of other tests, which saves the compiler's time.
    """
    config = dataclasses.replace(PRESETS[preset], seeds=SEEDS, epochs=EPOCHS[-1], logged_epochs=EPOCHS)
    run = ibjax.run(dataclasses.replace(config, store_weights=preset == "paper"))
    measured = {key: run.arrays()[key] for key in MEASURED}
    return {"train_mask": np.packbits(run.train_mask, axis=1), **measured, **run.extras}


@pytest.mark.parametrize("preset", PRESETS)
def test_a_short_run_of_each_preset(preset: str) -> None:
    """Masks to the bit. Other versions of jax and processors (SSE 4.2 to AVX-512) add in another order: floats move by
    2e-6 of them, the tolerance is ten times that; of 4096 patterns four may move into another cell, each for at most
    (log2 N + 1.5) / N bits, though none does."""
    with np.load(FILE) as stored:
        expected = {key.partition("/")[2]: stored[key] for key in stored.files if key.startswith(f"{preset}/")}
        told = f"stored with jax {stored['jax']}, this is {jax.__version__}; see the top of this file"
    found = arrays(preset)
    assert found.keys() == expected.keys()
    for key, array in found.items():
        rtol, atol = (0, 4 * 13.5 / 4096) if key in ("i_xt", "i_ty") else (2e-5, 1e-6)
        np.testing.assert_allclose(array, expected[key], rtol, atol, err_msg=f"{key}, {told}")


if __name__ == "__main__":
    whole = {f"{preset}/{key}": array for preset in PRESETS for key, array in arrays(preset).items()}
    write_arrays(FILE, {"jax": np.array(jax.__version__), **whole})
    print(f"{FILE}: {FILE.stat().st_size} bytes")
