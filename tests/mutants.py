"""A fast mutation run: small errors put into copies of the tree one by one, each of which the named tests must find.

    python tests/mutants.py              # all: ten minutes on two cores
    python tests/mutants.py checkpoint   # those of the files whose name has this in it

It says of each whether it was killed, and ends with status 1 where one survived its tests or they took more than two
minutes. A new test that guards what no other does should have a mutant here that it alone kills.

The list is hand-picked, where a wrong number would be worst and least visible. A generator such as mutmut makes
thousands of mutants, each waiting for the compiler, and runs them in forks of a process that has loaded JAX, where
`ibjax.run` refuses to train.
"""

from __future__ import annotations

import ast
import functools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent import futures
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
_COPIED = ("ibjax", "tests", "pyproject.toml")
_SECONDS = 120


class Mutant(NamedTuple):
    """One error.

    Attributes:
      file: in which file of `ibjax/`.
      old: text that occurs once there.
      new: what stands there instead.
      tests: of `tests/`, as pytest names them, separated by spaces.
    """

    file: str
    old: str
    new: str
    tests: str


MUTANTS = (
    Mutant(
        "information/cells/table.py",
        "same &= (theirs == w).all(axis=0)",
        "same &= (theirs == w).any(axis=0)",
        "test_histogram.py::TestAgainstReference::test_float32",
    ),
    Mutant(
        "information/cells/sorting.py",
        "functools.reduce(operator.or_,",
        "functools.reduce(operator.and_,",
        "test_sorting.py::TestCells::test_the_cells_of_the_hash_table",
    ),
    Mutant(
        "information/partition.py",
        "last = jnp.roll(first, -1, axis=1)",
        "last = first",
        "test_sorting.py::TestInformation::test_against_numpy",
    ),
    Mutant(
        "information/partition.py",
        "weight = jnp.ones(n, dtype) if p_x is None else p_x.astype(dtype)",
        "weight = jnp.ones(n, dtype)",
        "test_histogram.py::TestByHand::test_probability_instead_of_repeats",
    ),
    Mutant(
        "information/partition.py",
        "sums(coarse) + sums(of.fine[c - of.whole])) * of",
        "sums(coarse)) * of",
        "test_histogram.py::TestAgainstReference::test_float32",
    ),
    Mutant(
        "information/partition.py",
        "jnp.ones_like(p_y)).T) - h_y_given_t",
        "jnp.ones_like(p_y)).T) + h_y_given_t",
        "test_histogram.py::TestByHand::test_the_label_itself test_histogram.py::TestByHand::test_half_of_the_label",
    ),
    Mutant(
        "information/cells/words.py",
        "return max(d for d in range(1, 33) if base**d <= 2**32)",
        "return max(d for d in range(1, 34) if base**d <= 2**33)",
        "test_histogram.py::TestCells::test_pack_loses_nothing",
    ),
    Mutant(
        "information/partition.py",
        "(jnp.uint64, 52)\n",
        "(jnp.uint64, 23)\n",
        "test_histogram.py::TestAgainstReference::test_float64",
    ),
    Mutant(
        "information/partition.py",
        "masses.at[0].set(jnp.maximum(masses[0] - masses[1:].sum(axis=0), 0))",
        "masses",
        "test_estimators.py::test_joint_of_the_channels",
    ),
    Mutant(
        "information/cells/bins.py",
        "edge.astype(jnp.int32) - below",
        "edge.astype(jnp.int32)",
        "test_histogram.py::TestEdges::test_named_values",
    ),
    Mutant(
        "information/cells/bins.py",
        "below = total + (total_rest",
        "below = total + 0 * (total_rest",
        "test_histogram.py::TestEdges",
    ),
    Mutant(
        "information/cells/bins.py",
        "jnp.where(high > low, high, low + jnp.maximum(jnp.abs(low), 1))",
        "jnp.where(high > low, high, low + 1)",
        "test_histogram.py::TestEdges::test_activation_range",
    ),
    Mutant(
        "information/histogram.py",
        "low=-1.0, high=1.0) if bounded and self.low is None else self",
        "low=-1.0, high=1.0) if bounded else self",
        "test_estimators.py::TestHistogram::test_given_range_is_kept_for_every_layer",
    ),
    Mutant(
        "information/kde.py",
        "sharpness: ClassVar[float] = 0.25",
        "sharpness: ClassVar[float] = 0.5",
        "test_estimators.py::TestKernel::test_against_all_pairs_in_float64",
    ),
    Mutant(
        "information/noisy.py",
        "/ (samples - 1)",
        "/ samples",
        "test_estimators.py::TestNoisy::test_standard_error_is_the_spread",
    ),
    Mutant(
        "information/noisy.py",
        "jax.random.fold_in(key, number), centers.shape[1:]",
        "key, centers.shape[1:]",
        "test_estimators.py::TestNoisy::test_standard_error_is_the_spread",
    ),
    Mutant(
        "information/noisy.py",
        "jnp.sqrt(tree_sum(p_x**2 * variance) / samples)",
        "jnp.sqrt(tree_sum(p_x * variance) / len(p_x) / samples)",
        "test_estimators.py::TestNoisy::test_standard_error_is_the_spread",
    ),
    Mutant(
        "information/noisy.py",
        "unlikely = jnp.where(p_x > 0, 0, -jnp.inf)",
        "unlikely = jnp.where(p_x >= 0, 0, -jnp.inf)",
        "test_estimators.py::TestNoisy::test_far_apart_is_one_bit",
    ),
    Mutant(
        "information/noisy.py",
        "jnp.where(jnp.arange(passes) == number, -jnp.inf, of_itself)",
        "of_itself",
        "test_estimators.py::TestNoisyNetwork::test_the_chain_lies_between_both_estimates",
    ),
    Mutant(
        "information/pairs.py",
        "jnp.where(finite, values, jnp.nan)",
        "values",
        "test_estimators.py::TestProtocol::test_networks_do_not_see_each_other",
    ),
    Mutant(
        "training/launches.py",
        "index), count > 0",
        "index), count >= 0",
        "test_launches.py::test_trains_as_the_plain_path",
    ),
    Mutant(
        "training/launches.py",
        "jnp.clip(n - index * b, 0, b)",
        "jnp.int32(b)",
        "test_launches.py::test_trains_as_the_plain_path",
    ),
    Mutant(
        "networks/units.py",
        "product[-1, left:right]",
        "product[0, left:right]",
        "test_launches.py::test_every_activation_has_its_units",
    ),
    Mutant(
        "training/trainer.py",
        "u = jax.random.uniform(label_key,",
        "u = jax.random.uniform(split_key,",
        "test_golden.py::test_a_short_run_of_each_preset[paper]",
    ),
    Mutant(
        "training/trainer.py",
        "jnp.sum(u >= jnp.cumsum",
        "jnp.sum(1 - u >= jnp.cumsum",
        "test_golden.py::test_a_short_run_of_each_preset[paper]",
    ),
    Mutant(
        "training/trainer.py",
        "drawn = every if self.ordered_split else",
        "drawn = every if not self.ordered_split else",
        "test_training.py::TestPatterns::test_counting_order",
    ),
    Mutant(
        "training/trainer.py",
        "in_loop = steps if self.model.statistics is None else self.n_train // self.batch_size",
        "in_loop = steps",
        "test_modules.py::test_running_means_are_those_of_the_batches[linen]",
    ),
    Mutant(
        "networks/modules.py",
        "kept = jax.tree.map(lambda leaf: leaf, statistics or {})",
        "kept = self.statistics(key)",
        "test_modules.py::test_running_means_are_those_of_the_batches[nnx]",
    ),
    Mutant(
        "training/loss.py",
        "jnp.mean(jnp.square(logits - labels.T), axis=0)",
        "jnp.sum(jnp.square(logits - labels.T), axis=0)",
        "test_regression.py::TestLoss::test_of_numbers",
    ),
    Mutant(
        "training/trainer.py",
        "(jnp.maximum(count, 1) if uneven else count)",
        "self.batch_size",
        "test_training.py::TestPatterns::test_counting_order",
    ),
    Mutant(
        "training/trainer.py",
        "accepted = learn & here.any() if uneven else learn",
        "accepted = learn",
        "test_training.py::TestTraining::test_fewer_patterns_than_others_are_fewer_steps",
    ),
    Mutant(
        "training/trainer.py",
        "return jnp.where(patterns < n_patterns, patterns, patterns[0])",
        "return jnp.minimum(patterns, n_patterns - 1)",
        "test_ensemble.py::test_a_sweep_is_one_run",
    ),
    Mutant(
        "training/trainer.py",
        "return jax.random.fold_in(jax.random.fold_in(order, stream), number)",
        "return jax.random.fold_in(order, stream)",
        "test_training.py::TestTraining::test_noise_is_a_plain_formula",
    ),
    Mutant(
        "training/trainer.py",
        "round_keys(jax.random.fold_in(sample.order, number), count)",
        "round_keys(sample.order, count)",
        "test_training.py::TestShuffle::test_epochs_have_different_orders",
    ),
    Mutant(
        "training/shuffle.py",
        "hashed = jnp.maximum(x, reflected)",
        "hashed = x",
        "test_training.py::TestShuffle::test_is_a_bijection",
    ),
    Mutant(
        "training/shuffle.py",
        "hashed = jnp.maximum(x, reflected)",
        "hashed = jnp.minimum(x, reflected)",
        "test_training.py::TestShuffle::test_rounds_in_plain_python",
    ),
    Mutant(
        "training/gradients.py",
        "v + (g - old) * (g - new)",
        "v + (g - new) * (g - new)",
        "test_gradients.py::TestMoments",
    ),
    Mutant(
        "training/gradients.py",
        "jnp.sqrt(v / moments.seen.astype(v.dtype))",
        "jnp.sqrt(v / (moments.seen - 1).astype(v.dtype))",
        "test_gradients.py::TestMoments",
    ),
    Mutant(
        "training/loss.py",
        "(lax.squeeze(logits, (0,)) > 0) == (labels > 0)",
        "(lax.squeeze(logits, (0,)) > 0.5) == (labels > 0)",
        "test_training.py::TestLoss",
    ),
    Mutant(
        "training/rules/descent.py",
        "updates, state = self.optimizer.update(gradient, state, params)",
        "updates, _ = self.optimizer.update(gradient, state, params)",
        "test_training.py::TestTraining::test_parameters_as_a_vector_and_as_a_tree",
    ),
    Mutant(
        "training/kernel/fused.cu",
        "if constexpr (G > 0) multiply(t.low, r.low[half], c.whole[half]);",
        "",
        "test_fused.py::test_epochs_are_those_of_jax_and_repeat_to_the_bit[one-layer-2]",
    ),
    Mutant(
        "training/kernel/fused.cu",
        "      if (c.learn) {",
        "      if (true) {",
        "test_fused.py::test_without_learning_only_the_moments_change",
    ),
    Mutant(
        "training/kernel/fused.cu",
        "SECOND_SHARE = 0.001f",
        "SECOND_SHARE = 1.0f - SECOND_DECAY",
        "test_fused.py::test_steps_with_noise_are_those_of_jax_where_epochs_cannot_be[tanh-adam]",
    ),
    Mutant(
        "training/kernel/fused.cu",
        "        own.first[i] = direction;",
        "",
        "test_fused.py::test_steps_with_noise_are_those_of_jax_where_epochs_cannot_be[tanh-momentum]",
    ),
    Mutant(
        "training/fused.py",
        "begin = first + index * EPOCHS_PER_LAUNCH",
        "begin = first",
        "test_fused.py::test_more_epochs_than_a_launch_holds",
    ),
    Mutant(
        "training/fused.py",
        "old + steps * count * learn for old in counted",
        "old + count * learn for old in counted",
        "test_fused.py::test_epochs_are_those_of_jax_and_repeat_to_the_bit[adamw-2]",
    ),
    Mutant(
        "networks/dense.py",
        "lax.clamp(np.float32(-1), quotient, np.float32(1))",
        "quotient",
        "test_network.py::TestTanh::test_is_within_five_units_in_the_last_place",
    ),
    Mutant(
        "networks/perceptron.py",
        'fan = 1 if self.initializer == "fan_out" else 0',
        'fan = 0 if self.initializer == "fan_out" else 1',
        "test_network.py::TestPerceptron::test_initial_kernels",
    ),
    Mutant(
        "ensemble/assemble.py",
        "np.broadcast_to(np.asarray(value, dtype), seeds.shape)[order]",
        "np.broadcast_to(np.asarray(value, dtype), seeds.shape)",
        "test_ensemble.py::test_kept_programs_do_not_mix_up_the_settings_of_seeds",
    ),
    Mutant(
        "training/rules/make.py",
        "elementwise=optimizer is None",
        "elementwise=True",
        "test_ensemble.py::test_own_optimizer_sees_the_layers",
    ),
    Mutant(
        "ensemble/assemble.py",
        "batch_size=config.batch_size or max(counts)",
        "batch_size=config.batch_size or min(counts)",
        "test_ensemble.py::test_full_batch_of_seeds_with_more_and_fewer_patterns",
    ),
    Mutant(
        "ensemble/assemble.py",
        "learning_rate=of_seeds(config.learning_rate, config.precision)",
        'learning_rate=of_seeds(config.learning_rate, "float32")',
        "test_ensemble.py::test_float64_stays_inside_the_run",
    ),
    Mutant(
        "ensemble/program.py",
        "jnp.isfinite(train_loss) & jnp.isfinite(state.weights).all(axis=1)",
        "jnp.isfinite(train_loss)",
        "test_ensemble.py::test_a_diverging_seed_leaves_the_others_alone",
    ),
    Mutant(
        "ensemble/program.py",
        "return conditional_rows(self.dataset.p_y_given_x).astype(self.config.precision)",
        'return conditional_rows(self.dataset.p_y_given_x).astype("float32").astype(self.config.precision)',
        "test_ensemble.py::test_float64_stays_inside_the_run",
    ),
    Mutant(
        "ensemble/program.py",
        "test_loss=mean(loss, 1 - trained)",
        "test_loss=mean(loss, trained)",
        "test_ensemble.py::test_losses_are_of_the_right_patterns",
    ),
    Mutant(
        "ensemble/program.py",
        "gradient_mean=norms(moments.mean)",
        "gradient_mean=norms(jax.vmap(gradients.spread)(moments))",
        "test_golden.py::test_a_short_run_of_each_preset[paper]",
    ),
    Mutant(
        "ensemble/program.py",
        "measured.astype(dtype) * (1 if p_x is None else p_x)",
        "measured.astype(dtype)",
        "test_ensemble.py::test_measured_on_some_of_the_patterns[weighted]",
    ),
    Mutant(
        "ensemble/measurement.py",
        "fold(fold(sample.order, _ESTIMATOR_STREAM), epoch)",
        "fold(sample.order, _ESTIMATOR_STREAM)",
        "test_measure.py::test_every_network_epoch_and_layer_draws_anew",
    ),
    Mutant(
        "ensemble/measurement.py",
        "fold(keys, number), inputs))",
        "keys, inputs))",
        "test_measure.py::test_every_network_epoch_and_layer_draws_anew",
    ),
    Mutant(
        "ensemble/measurement.py",
        "inputs, conditional = inputs[self._part], conditional[self._part]",
        "inputs, conditional = inputs[: len(inputs[self._part])], conditional[self._part]",
        "test_measure.py::test_further_estimators_on_a_part_in_order[uniform-test]",
    ),
    Mutant(
        "information/wide/edge.py",
        "safe_log(_mass(both, p_x)) - safe_log(_mass(of_x, p_x))",
        "safe_log(_mass(both, p_x))",
        "test_wide_estimators.py::TestEdge::test_independent",
    ),
    Mutant(
        "information/wide/edge.py",
        "* width) + shift)",
        "* width))",
        "test_wide_estimators.py::TestEdge::test_a_hash_parts_what_is_far_apart",
    ),
    Mutant(
        "information/wide/edge.py",
        "* tree_sum(p_x**2))",
        "* tree_sum(p_x))",
        "test_wide_estimators.py::TestEdge::test_standard_errors_are_the_spread",
    ),
    Mutant(
        "ensemble/measurement.py",
        "p_x = None if self._p_x is None else jnp.asarray(self._p_x)",
        "p_x = None",
        "test_measure.py::test_patterns_that_are_not_equally_likely",
    ),
    Mutant(
        "ensemble/blocks.py",
        "return before",
        "return block",
        "test_checkpoint.py::test_a_stop_while_an_estimator_is_at_work",
    ),
    Mutant(
        "ensemble/blocks.py",
        "self._passes_at_first, np.False_)",
        "self._passes_at_first, np.True_)",
        "test_ensemble.py::test_logging_does_not_change_the_training",
    ),
    Mutant(
        "ensemble/measurement.py",
        "jax.lax.dynamic_slice_in_dim(leaf, first, count)",
        "jax.lax.dynamic_slice_in_dim(leaf, 0, count)",
        "test_measure.py::test_patterns_that_are_not_equally_likely",
    ),
    Mutant(
        "ensemble/blocks.py",
        "return max(-(-n_seeds // size), min(n_devices, n_seeds))",
        "return -(-n_seeds // size)",
        "test_ensemble.py::test_blocks_of_seeds",
    ),
    Mutant(
        "cluster/run.py",
        "kept.add(missing[which], piece)",
        "kept.add(which, piece)",
        "test_cluster.py::test_a_folder_goes_on_where_it_ended",
    ),
    Mutant(
        "analysis/statistics.py",
        "distance**2 * count * share",
        "distance**2 * count",
        "test_analysis.py::TestStreamedMean",
    ),
    Mutant(
        "ensemble/run.py",
        "epoch=position.epoch,",
        "epoch=logged[max(position.n_logged - 1, 0)],",
        "test_checkpoint.py::test_a_stop_between_two_logged_epochs",
    ),
    Mutant(
        "ensemble/checkpoint.py",
        "done, epoch = map(int, position)",
        "done = int(position[0])\n            epoch = logged[done - 1] if done else 0",
        "test_checkpoint.py::test_a_stop_between_two_logged_epochs",
    ),
    Mutant(
        "ensemble/checkpoint.py",
        "if first >= done:  #",
        "if first > done:  #",
        "test_checkpoint.py::test_measures_without_their_state_are_made_again",
    ),
    Mutant(
        "ensemble/checkpoint.py",
        "self._written[number] = done\n",
        "self._written[number] = 0\n",
        "test_checkpoint.py::test_exceptions_lose_nothing",
    ),
    Mutant(
        "ensemble/checkpoint.py",
        "if not low <= epoch < max(high, 1):",
        "if not 0 <= epoch:",
        "test_checkpoint.py::test_a_state_of_another_interval_is_refused",
    ),
    Mutant(
        "ensemble/checkpoint.py",
        "elif first != reached or last > done:",
        "elif first > reached or last > done:",
        "test_checkpoint.py::test_records_that_overlap_are_refused",
    ),
    Mutant(
        "ensemble/results.py",
        'finite = np.logical_and.accumulate(values.pop("finite"), axis=1)',
        'finite = values.pop("finite")',
        "test_ensemble.py::test_a_diverged_network_stays_diverged",
    ),
    Mutant(
        "ensemble/results.py",
        'program.dataset.restricted(mask == (config.measure_on == "train"))',
        "program.dataset.restricted(mask)",
        "test_ensemble.py::test_measured_on_some_of_the_patterns",
    ),
    Mutant(
        "ensemble/remeasure.py",
        'values[~np.isfinite(trajectory.require("train_loss"))] = np.nan',
        "pass",
        "test_measure.py::test_networks_of_ones_own",
    ),
    Mutant(
        "ensemble/remeasure.py",
        "seeds = trajectory.seeds.astype(np.uint32)",
        "seeds = np.arange(len(trajectory.seeds), dtype=np.uint32)",
        "test_measure.py::test_estimators_of_a_run_are_found_again[noisy]",
    ),
    Mutant(
        "ensemble/remeasure.py",
        "vectors, first, epochs[epoch])",
        "vectors, first, epoch)",
        "test_measure.py::test_estimators_of_a_run_are_found_again[noisy]",
    ),
    Mutant(
        "npz.py",
        "if key in members:",
        "if key in ():",
        "test_trajectory.py::TestRefusing::test_a_key_given_twice",
    ),
    Mutant(
        "npz.py",
        "array = flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)",
        "array = flat.reshape(shape)",
        "test_trajectory.py::TestRoundTrip::test_fortran_order_and_foreign_byte_order",
    ),
    Mutant(
        "trajectory/trajectory.py",
        "return np.array([of_seed[seed] for seed in self.seeds.tolist()])",
        "return np.array(value)[: self.seeds.size]",
        "test_ensemble.py::test_a_sweep_is_one_run",
    ),
    Mutant(
        "trajectory/trajectory.py",
        "axis = axes.find(label[0].upper())",
        'axis = axes.find("S")',
        "test_trajectory.py::test_of_epochs",
    ),
    Mutant(
        "trajectory/merge.py",
        '**config["config"], "seeds": seeds.tolist(), **swept}',
        '**config["config"], "seeds": seeds.tolist()}',
        "test_ensemble.py::test_a_sweep_is_one_run",
    ),
    Mutant(
        "trajectory/merge.py",
        "if np.any(counts > 1):",
        "if np.any(counts > 2):",
        "test_trajectory.py::TestConcatenate::test_what_differs_is_named",
    ),
    Mutant(
        "trajectory/merge.py",
        "(array.dtype, array.shape, array.tobytes())",
        "(array.dtype, array.shape)",
        "test_trajectory.py::TestConcatenate::test_what_differs_is_named",
    ),
    Mutant(
        "trajectory/schema.py",
        'name.partition("_")[0] != "error"',
        "True",
        "test_trajectory.py::test_keys_that_could_be_taken_for_others",
    ),
    Mutant(
        "bottleneck/curve.py",
        "points = Point(*(values[np.argsort(falling)] for values in points))",
        "points = Point(*(values[falling] for values in points))",
        "test_bottleneck.py::test_points_are_those_of_their_encoder",
    ),
    Mutant(
        "bottleneck/curve.py",
        "np.stack([self.i_x, self.i_y], axis=1)[self.converged]",
        "np.stack([self.i_x, self.i_y], axis=1)",
        "test_bottleneck.py::test_relevance_is_the_concave_envelope",
    ),
    Mutant(
        "bottleneck/curve.py",
        "converged=(points.residual <= tolerance) & (points.excess / LN2 <= SAVING)",
        "converged=points.residual <= tolerance",
        "test_bottleneck.py::test_a_solution_on_which_a_cluster_could_save_is_reported",
    ),
    Mutant(
        "config.py",
        "and len(value) != len(self.seed_list):",
        "and len(value) < len(self.seed_list):",
        "test_config.py::test_bad_input_is_refused",
    ),
    Mutant(
        "config.py",
        "!= sorted(epochs):",
        "!= list(epochs):",
        "test_config.py::test_bad_input_is_refused",
    ),
    Mutant(
        "_checks.py",
        "low < real if above else low <= real",
        "low <= real",
        "test_config.py::test_bad_input_is_refused",
    ),
    Mutant(
        "training/rules/make.py",
        "optax.chain(optax.add_decayed_weights(decay), descent)",
        "optax.chain(descent, optax.add_decayed_weights(-decay))",
        "test_ensemble.py::test_a_step_takes_off_its_share_of_every_parameter",
    ),
    Mutant(
        "analysis/phases.py",
        'np.searchsorted(epochs, window * epochs, side="right")',
        'np.searchsorted(epochs, window * epochs, side="left")',
        "test_analysis.py::TestPhaseChange",
    ),
    Mutant(
        "training/rules/metropolis.py",
        "jnp.where(accept, proposed, params), jnp.where(accept, new, energy)",
        "jnp.where(accept, proposed, params), new",
        "test_phases.py::TestMetropolis::test_at_temperature_zero_never_rises",
    ),
    Mutant(
        "training/rules/metropolis.py",
        "jnp.exp(-(new - energy) / self.temperature)",
        "jnp.exp(-(new - energy) / (2 * self.temperature))",
        "test_phases.py::TestMetropolis::test_samples_the_boltzmann_distribution",
    ),
    Mutant(
        "training/rules/metropolis.py",
        "walk.not_finite + ~finite",
        "walk.not_finite + ~accept",
        "test_phases.py::TestMetropolis::test_refuses_and_counts_what_is_not_finite",
    ),
    Mutant(
        "training/rules/metropolis.py",
        "walk.moves < self.warmup",
        "walk.moves <= self.warmup",
        "test_phases.py::TestSchedule::test_warm_up_ends",
    ),
    Mutant(
        "training/rules/metropolis.py",
        'groups[layer["kernel"]] = first + units',
        'groups[layer["kernel"]] = first',
        "test_phases.py::TestMetropolis::test_a_unit_is_its_incoming_weights_and_bias",
    ),
    Mutant(
        "training/rules/langevin.py",
        "2 * self.friction * rate * self.temperature",
        "2 * rate * self.temperature",
        "test_phases.py::TestLangevin::test_variance_on_a_quadratic",
    ),
    Mutant(
        "training/rules/constrained.py",
        "new <= jnp.maximum(energy, self.bound)",
        "new <= self.bound",
        "test_phases.py::TestConstrained::test_comes_in_from_outside",
    ),
    Mutant(
        "training/rules/information.py",
        "partition.channels(given, weight / jnp.sum(weight), logits.dtype)",
        "partition.channels(given, jnp.ones_like(weight) / len(weight), logits.dtype)",
        "test_phases.py::TestInformation::test_energy_is_the_loss_and_the_histogram_of_the_training_patterns",
    ),
    Mutant(
        "training/rules/bottleneck.py",
        "at[:, cell].add(reached * weight)",
        "at[:, cell].add(reached / len(cell))",
        "test_phases.py::TestBottleneck::test_targets_are_means_of_centres",
    ),
    Mutant(
        "training/rules/bottleneck.py",
        "jnp.log(jnp.where(cells.p_t > 0, cells.p_t, 1)) - beta * cross",
        "-beta * cross",
        "test_phases.py::TestBottleneck::test_step_is_the_iteration_of_the_curve",
    ),
    Mutant(
        "training/schedule.py",
        "here & (completed >= until)",
        "here & (completed > until)",
        "test_phases.py::TestSchedule::test_is_in_the_file",
    ),
    Mutant(
        "training/schedule.py",
        "ended = here & stage.drifted & below",
        "ended = here & below",
        "test_phases.py::TestConditions::test_snr",
    ),
    Mutant(
        "training/schedule.py",
        "return state, _choose(here, found, moments)",
        "return state, found",
        "test_phases.py::TestSchedule::test_gradients_are_those_of_the_phase_of_each_network",
    ),
)


def faults(mutant: Mutant) -> list[str]:
    """What is no longer true of an entry of the list."""
    text = (ROOT / "ibjax" / mutant.file).read_text(encoding="utf-8")
    if (count := text.count(mutant.old)) != 1:
        return [f"ibjax/{mutant.file}: {count} times {mutant.old!r}; allowed: once"]
    if mutant.file.endswith(".py"):
        ast.parse(text.replace(mutant.old, mutant.new))
    return [f"tests/{test} is no test" for test in mutant.tests.split() if not _exists(test)]


def _exists(test: str) -> bool:
    file, *names = test.partition("[")[0].split("::")
    nodes = _statements(ROOT / "tests" / file)
    for name in names:
        found = [node for node in nodes if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name]
        nodes = found[0].body if found else []
    return bool(nodes)


@functools.cache
def _statements(path: Path) -> list[ast.stmt]:
    return ast.parse(path.read_text(encoding="utf-8")).body if path.is_file() else []


def outcome(tests: str, mutant: Mutant | None = None) -> tuple[int | None, str]:
    """Pytest's exit status, None where it took too long, and the end of what it says of a copy of the tree with a
    mutant in it."""
    with tempfile.TemporaryDirectory(prefix="ibjax_mutant_") as folder:
        for name in _COPIED:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, Path(folder, name))
        if mutant is not None:
            path = Path(folder, "ibjax", mutant.file)
            path.write_text(path.read_text(encoding="utf-8").replace(mutant.old, mutant.new), encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-n", "0", "-x", *(f"tests/{test}" for test in tests.split())]
        environment = {**os.environ, "PYTHONPATH": folder}
        seconds = None if mutant is None else _SECONDS
        try:
            done = subprocess.run(
                command, cwd=folder, env=environment, capture_output=True, text=True, timeout=seconds, check=False
            )
        except subprocess.TimeoutExpired:
            return None, ""
    return done.returncode, done.stdout[-2000:] + done.stderr[-2000:]


def main(words: list[str]) -> int:
    """The run; its exit status."""
    chosen = [mutant for mutant in MUTANTS if not words or any(word in mutant.file for word in words)]
    if wrong := [fault for mutant in chosen for fault in faults(mutant)]:
        print("\n".join(wrong))
        return 1
    with tempfile.TemporaryDirectory(prefix="ibjax_mutants_") as cache:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = cache  # what a mutant leaves alone is compiled once
        tests = " ".join(sorted({test for mutant in chosen for test in mutant.tests.split()}))
        status, said = outcome(tests)
        if status:
            print(f"{said}\nthe tests do not pass without a mutant")
            return 1
        with futures.ThreadPoolExecutor(max(1, (os.cpu_count() or 1) // 2)) as pool:
            survivors = sum(pool.map(_report, chosen))
    print(f"{len(chosen) - survivors} of {len(chosen)} killed")
    return int(survivors > 0)


def _report(mutant: Mutant) -> bool:
    """Tries a mutant and says what came of it; whether it survived."""
    began = time.monotonic()
    status, said = outcome(mutant.tests, mutant)
    word = {0: "SURVIVED", 1: "killed", None: "UNDECIDED"}.get(status, f"{said}\nBROKEN")
    print(
        f"{word} ({time.monotonic() - began:.0f} s) ibjax/{mutant.file}: {mutant.old!r} -> {mutant.new!r}", flush=True
    )
    return status != 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
