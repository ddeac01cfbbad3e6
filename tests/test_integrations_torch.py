"""PyTorch itself: what hooks keep, and the paper's network in a loop of PyTorch.

Shapes: S seeds, E logged epochs, N patterns, U units.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import missing

if missing("torch"):
    pytest.skip("PyTorch is not installed (pip install torch)", allow_module_level=True)

import torch
from torch import nn

import ibjax
from ibjax.ensemble.assemble import assemble
from ibjax.integrations.torch import gradients, kernels, watch
from ibjax.recorder.arrays import as_array
from ibjax.training.trainer import epoch_positions

pytestmark = pytest.mark.usefixtures("unoptimized")

X = torch.linspace(-2, 2, 30).reshape(10, 3)


def network() -> Any:
    torch.manual_seed(3)
    torch.set_num_threads(1)
    steps = {"fc1": nn.Linear(3, 4), "act1": nn.ReLU(inplace=True), "fc2": nn.Linear(4, 2), "act2": nn.Tanh()}
    return nn.Sequential(OrderedDict(steps))


def hooks_of(module: Any) -> int:
    return sum(len(part._forward_hooks) for part in module.modules())


class TestWatch:
    def test_every_leaf_as_it_was_returned(self) -> None:
        """The second layer changes what the first returned in place; the copy stays."""
        net = network()
        with watch(net) as activations:
            net(X)
        assert hooks_of(net) == 0
        assert list(activations) == ["fc1", "act1", "fc2", "act2"]
        fc1 = net.fc1(X)
        act1 = fc1.clamp(min=0)
        assert (fc1 < 0).any()
        for found, expected in zip(activations.values(), (fc1, act1, net.fc2(act1), net(X)), strict=True):
            assert torch.equal(found, expected)
            assert not found.requires_grad
            assert found.grad_fn is None

    def test_passes_follow_each_other_and_later_ones_are_not_seen(self) -> None:
        net = network()
        with torch.no_grad(), watch(net, ["act2"]) as activations:
            for part in X.split(4):
                net(part)
            assert torch.equal(activations["act2"][:8], net(X)[:8])
        net(X)
        whole = activations["act2"]
        assert whole.shape == (20, 2)  # ten patterns in parts, and ten at once
        torch.testing.assert_close(whole[:10], whole[10:], rtol=0, atol=1e-6)
        assert len(activations) == 1

    @pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad, torch.inference_mode])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
    def test_the_recorder_takes_every_mode_and_precision(self, mode: Any, dtype: Any) -> None:
        net = network().to(dtype)
        with mode(), watch(net, ("act2", "act1")) as activations:
            net(X.to(dtype))
        recorder, plain = (ibjax.Recorder(torch.arange(10) % 2) for _ in range(2))
        recorder.log(0, activations)
        plain.log(0, {name: value.to(torch.float64).numpy() for name, value in activations.items()})
        assert recorder.trajectory().layer_names == ("act2", "act1")
        np.testing.assert_allclose(recorder.trajectory().i_xt, plain.trajectory().i_xt, rtol=0, atol=1e-5)

    def test_training_goes_on_as_without(self) -> None:
        watched, free = network(), network()
        with watch(watched):
            watched(X).square().sum().backward()
        free(X).square().sum().backward()
        for one, other in zip(watched.parameters(), free.parameters(), strict=True):
            assert torch.equal(one.grad, other.grad)

    def test_names_of_ones_own_and_modules_within_modules(self) -> None:
        net = nn.ModuleDict({"body": network(), "head": nn.Linear(2, 1)})
        with watch(net, {"hidden": "body.act1", "whole": "body", "end": "head"}) as activations:
            net["head"](net["body"](X))
        assert list(activations) == ["hidden", "whole", "end"]
        assert torch.equal(activations["whole"], net["body"](X))

    def test_all_come_in_the_order_of_their_calls(self) -> None:
        class Turned(nn.Module):  # type: ignore[misc]  # torch is not typed here
            def __init__(self) -> None:
                super().__init__()
                self.last, self.first = nn.Linear(3, 2), nn.Linear(3, 3)

            def forward(self, x: Any) -> Any:
                return self.last(self.first(x))

        net = Turned()
        with watch(net) as activations:
            net(X)
            net(X)
        assert list(activations) == ["first", "last"]

    def test_hooks_go_when_the_block_fails(self) -> None:
        net = network()
        with pytest.raises(RuntimeError), watch(net) as activations:  # noqa: PT012
            net(X)
            net(X[:, :2])
        assert hooks_of(net) == 0
        assert torch.equal(activations["fc1"], net.fc1(X))

    def test_modules_that_are_not_there(self) -> None:
        net = network()
        with pytest.raises(ValueError, match=r"layers = 'act3'; allowed: 'fc1', 'act1', 'fc2', 'act2' \(did you mean"):
            watch(net, ["fc1", "act3"]).__enter__()
        assert hooks_of(net) == 0
        with pytest.raises(ValueError, match="layers holds 'fc1' more than once"):
            watch(net, ["fc1", "fc1"]).__enter__()
        with pytest.raises(ValueError, match=r"layers = \(\); allowed: at least one"):
            watch(net, []).__enter__()
        with pytest.raises(TypeError, match="layers = 'fc1'; allowed: a sequence"):
            watch(net, "fc1").__enter__()
        with pytest.raises(TypeError, match="module is of type Tensor; allowed: a torch"):
            watch(X).__enter__()
        with pytest.raises(ValueError, match="module = Tanh, which has no submodules"):
            watch(nn.Tanh()).__enter__()
        with pytest.raises(KeyError, match="layer = 'fc3'; allowed: 'fc1'"), watch(net, ["fc1"]) as activations:
            activations["fc3"]

    def test_layers_that_are_called_too_often_or_never(self) -> None:
        shared, net = nn.Tanh(), network()
        twice = nn.Sequential(nn.Linear(3, 3), shared, nn.Linear(3, 2), shared)
        for layers in (None, ["1"]):
            with watch(twice, layers) as activations:
                twice(X)
            with pytest.raises(ValueError, match="layer '1' was called 2 times in 1 forward passes; allowed: once"):
                activations["1"]
        with watch(net, ["fc1", "act1"]) as activations:
            net.fc2(net.fc1(X))
        with pytest.raises(ValueError, match="layer 'act1' was called 0 times in 1 forward passes"):
            dict(activations)
        with watch(net) as activations, pytest.raises(ValueError, match="no layer has been called"):
            activations["fc1"]

    def test_layers_that_return_no_tensor_of_patterns(self) -> None:
        net = nn.Sequential(OrderedDict(rnn=nn.LSTM(3, 2)))
        with watch(net, ["rnn"]), pytest.raises(TypeError, match="layer 'rnn' returns a tuple; allowed: a tensor"):
            net(X)
        assert hooks_of(net) == 0

        class Total(nn.Module):  # type: ignore[misc]  # torch is not typed here
            def forward(self, x: Any) -> Any:
                return x.sum()

        net = nn.Sequential(OrderedDict(total=Total()))
        with watch(net), pytest.raises(ValueError, match="layer 'total' returns a tensor without axes"):
            net(X)

    def test_without_names_what_is_no_layer_is_left_out(self) -> None:
        class Mixed(nn.Module):  # type: ignore[misc]  # torch is not typed here
            def __init__(self) -> None:
                super().__init__()
                self.unused, self.rnn, self.last = nn.Linear(3, 2), nn.LSTM(3, 2), nn.Linear(2, 2)

            def forward(self, x: Any) -> Any:
                return self.last(self.rnn(x)[0])

        net = Mixed()
        with watch(net) as activations:
            net(X)
        assert len(activations) == 1
        recorder = ibjax.Recorder(torch.arange(10) % 2)
        with pytest.warns(
            RuntimeWarning, match=r"the layers 'unused' \(never called\), 'rnn' \(returns a tuple\)"
        ) as told:
            recorder.log(0, activations)
        assert len(told) == 1
        assert list(activations) == ["last"]  # said once
        assert recorder.layer_names == ("last",)
        with pytest.raises(ValueError, match="layer 'rnn' returns a tuple; allowed: layers that return a tensor"):
            activations["rnn"]

    def test_passes_of_other_widths(self) -> None:
        net = nn.Sequential(nn.ReLU())
        with watch(net) as activations:
            net(X)
            net(X[:, :2])
        with pytest.raises(ValueError, match=r"layer '0' returned \(10, 3\), \(10, 2\); allowed: the same axes"):
            activations["0"]


class TestKernels:
    def test_kernels_and_gradients_by_layer(self) -> None:
        net = network()
        assert gradients(net) == {}
        net(X).sum().backward()
        of_layers = {"act1": "fc1", "act2": "fc2"}
        found, slopes = kernels(net, of_layers), gradients(net, of_layers)
        assert list(found) == list(slopes) == ["act1", "act2"]
        assert torch.equal(found["act1"], net.fc1.weight)
        assert torch.equal(slopes["act2"], net.fc2.weight.grad)
        assert not any(value.requires_grad for value in found.values())
        assert list(kernels(net)) == ["fc1", "fc2"]  # activations have none
        net.fc1.weight.grad = None
        assert list(gradients(net)) == ["fc2"]

    def test_the_one_kernel_within_a_block(self) -> None:
        block = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU())
        net = nn.ModuleDict({"block": block, "norm": nn.LayerNorm(3), "body": network()})
        assert torch.equal(kernels(net, ["block", "norm"])["block"], block[0].weight)
        assert list(kernels(net, ["block", "norm"])) == ["block"]
        with pytest.raises(ValueError, match="layer 'body' has several kernels, fc1, fc2; allowed: layers with one"):
            kernels(net, ["body"])
        with pytest.raises(ValueError, match="layers = 'head'; allowed: 'block'"):
            gradients(net, ["head"])


TENSORS = {
    "with a gradient": lambda: torch.randn(4, 3, requires_grad=True),
    "in another order": lambda: torch.randn(3, 4).T,
    "every second": lambda: torch.randn(8, 3)[::2],
    "spread out": lambda: torch.randn(4, 1).expand(4, 3),
    "negated later": lambda: torch.randn(4, 3, dtype=torch.complex64).conj().imag,
    "float64": lambda: torch.randn(4, 3, dtype=torch.float64),
    "bfloat16": lambda: torch.randn(4, 3).bfloat16(),
    "float16": lambda: torch.randn(4, 3).half(),
    "int64": lambda: torch.arange(12).reshape(4, 3) + 2**40,
    "bool": lambda: torch.randn(4, 3) > 0,
    "a parameter": lambda: nn.Linear(3, 4).weight,
}


@pytest.mark.parametrize("kind", TENSORS)
def test_tensors_are_read_as_they_are(kind: str) -> None:
    torch.manual_seed(0)
    tensor = TENSORS[kind]()
    read = np.asarray(as_array("x", tensor))
    assert read.dtype.name == str(tensor.dtype).removeprefix("torch.")
    assert read.astype(np.float64).tolist() == tensor.tolist()


@pytest.mark.parametrize("encode", [lambda y: y, lambda y: y[:, None].short(), lambda y: nn.functional.one_hot(y)])
def test_labels_as_tensors(encode: Any) -> None:
    labels = torch.tensor([0, 2, 1, 2, 0, 1])
    recorder, plain = ibjax.Recorder(encode(labels)), ibjax.Recorder(labels.numpy())
    for each in (recorder, plain):
        each.log(
            0, [labels.float()[:, None]], loss=torch.tensor(0.5, requires_grad=True), accuracy=torch.tensor([0.25])
        )
    assert recorder.trajectory().i_ty == pytest.approx(np.log2(3))
    assert recorder.trajectory().i_ty == plain.trajectory().i_ty
    assert recorder.trajectory().train_loss == 0.5


class Start(NamedTuple):
    """How a seed's network of `ibjax.run` begins: which patterns it trains on, (N,) labels, its layers' parameters."""

    sample: Any
    patterns: Any
    labels: Any
    layers: Any


def start_of(trainer: Any, task: ibjax.Dataset, seed: int) -> Start:
    sample, state = trainer.start(
        jnp.uint32(seed), jnp.asarray(task.inputs, jnp.float32), jnp.asarray(task.conditional)
    )
    labels = torch.tensor(np.asarray(sample.labels), dtype=torch.float32)
    return Start(sample, torch.tensor(np.asarray(sample.patterns)), labels, trainer.model.unravel(state.params))


def papers_network(layers: Any) -> Any:
    """12-10-7-5-4-3-2 tanh units and a sigmoid, from kernels (U', U) and biases."""
    steps = OrderedDict()
    for number, layer in enumerate(layers, 1):
        steps[f"fc{number}"] = linear = nn.Linear(*layer["kernel"].shape)
        with torch.no_grad():
            linear.weight.copy_(torch.tensor(np.asarray(layer["kernel"]).T))
            linear.bias.copy_(torch.tensor(np.asarray(layer["bias"])))
        steps[f"act{number}"] = nn.Sigmoid() if number == len(layers) else nn.Tanh()
    return nn.Sequential(steps)


@pytest.mark.slow
def test_the_papers_network_in_a_loop_of_pytorch_moves_as_in_a_run() -> None:
    """Same weights, labels and batches: what differs is the order of sums, and what 60 epochs make of it.

    The values are those of the kernel on the same activations, to 1e-5; and those of the run, to 1e-5 after one epoch,
    later to 2% (the spread of the gradients, which is steep in places, to 10%).
    """
    config = ibjax.Config(seeds=2, epochs=60, logged_epochs=(0, 1, 10, 60), backend="plain")
    run, task, trainer = ibjax.run(config), ibjax.spherical_dataset(), assemble(config).trainer
    torch.set_num_threads(1)
    x, loss_of = torch.tensor(task.inputs, dtype=torch.float32), nn.BCEWithLogitsLoss()
    recorders, direct = [], np.zeros((2, *run.i_xt.shape))
    for seed in (0, 1):
        start = start_of(trainer, task, seed)
        net = papers_network(start.layers)
        order = jax.jit(lambda epoch, of=start.sample: epoch_positions(of, epoch, len(of.patterns), 256, True))
        acts, fcs = ({name: f"{of}{k}" for k, name in enumerate(run.layer_names, 1)} for of in ("act", "fc"))
        recorders.append(ibjax.Recorder(p_y_given_x=task.p_y_given_x, inputs=x, bounded=True, seed=seed))
        sgd = torch.optim.SGD(net.parameters(), lr=0.1)
        for epoch in range(61):
            if epoch in run.epochs:
                with torch.no_grad(), watch(net, acts) as activations:
                    z = torch.cat([net(part).logit() for part in x.split(1000)])[start.patterns, 0]
                y = start.labels[start.patterns]
                recorders[-1].log(
                    epoch,
                    activations,
                    loss=loss_of(z, y),
                    accuracy=((z > 0) == (y > 0)).float().mean(),
                    weights=kernels(net, fcs),
                )
                for layer, value in enumerate(activations.values()):
                    place = (slice(None), seed, run.epochs.tolist().index(epoch), layer)
                    direct[place] = ibjax.layer_information(value.numpy(), task.p_y_given_x)
            for positions, present in zip(*map(np.asarray, order(jnp.int32(epoch))), strict=True):
                batch = start.patterns[torch.tensor(positions[present])]
                sgd.zero_grad()
                loss_of(net[:-1](x[batch])[:, 0], start.labels[batch]).backward()
                if epoch + 1 in run.epochs:
                    recorders[-1].add_gradients(gradients(net, fcs))
                sgd.step()
    traj = ibjax.concatenate([recorder.trajectory() for recorder in recorders])
    assert traj.layer_names == run.layer_names
    assert (traj.i_xy, traj.h_x, traj.h_y) == pytest.approx((run.i_xy, run.h_x, run.h_y), abs=1e-6)
    np.testing.assert_allclose([traj.i_xt, traj.i_ty], direct, rtol=0, atol=1e-5)
    for key in ("i_xt", "i_ty", "weight_norm", "train_loss", "train_accuracy", "gradient_mean", "gradient_std"):
        ours, theirs = getattr(traj, key), getattr(run, key)
        first = 1 if key.startswith("gradient") else 0  # the run's at epoch 0 are of a pass without updates
        np.testing.assert_allclose(ours[:, first:2], theirs[:, first:2], rtol=0, atol=1e-5, err_msg=key)
        late = 0.1 if key == "gradient_std" else 0.02
        np.testing.assert_allclose(ours[:, first:], theirs[:, first:], rtol=late, atol=0.005, err_msg=key)
    assert np.ptp(run.i_xt[:, :, -4:], axis=1).min() > 0.1  # and the deep layers do move
