"""A model_fn as an nn.Module: building, freezing, compiling, exporting, copying."""

import copy
import random
import threading

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import torchestimator as te
from tests.model.models import batch, build, of_layers, rich_model_fn, sgd, spec_of

MODES = ("train", "eval", "infer")


def norm_net():
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))


def weights(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_the_model_is_the_function_it_was_made_of():
    module = build(rich_model_fn, params={"scale": 2.0})
    module.global_step = 3
    features, labels = batch(seed=1)
    net, weight = module.get_submodule("tower/net"), module.get_parameter("weight")
    reference = copy.deepcopy(net)
    expected = F.cross_entropy(reference(features["x"]) @ weight * (1 + 0.1 * 3) * 2.0, labels)
    assert module(features, labels).loss.item() == pytest.approx(expected.item(), abs=1e-6)


def test_nested_features_come_as_they_are():
    features = {"user": {"age": torch.ones(2, 1), "tags": [torch.ones(2), torch.zeros(2)]}, "x": torch.ones(2, 4)}

    def model_fn(features, mode):
        user = features["user"]
        total = user["age"][:, 0] + user["tags"][0] - user["tags"][1] + features["x"].sum(-1)
        return te.EstimatorSpec(mode, predictions=total)

    module = build(model_fn, "infer", features)
    assert module(features).predictions.tolist() == [6.0, 6.0]


def test_modes_reach_the_layers():
    module = build(of_layers(norm_net))
    net = module.get_submodule("net")
    states = []
    for mode in MODES:
        module.set_mode(mode)
        states.append((module.mode, module.training, net[1].training, net[2].training))
    assert states == [("train", True, True, True), ("eval", False, False, False), ("infer", False, False, False)]


def test_building_leaves_no_trace():
    random.seed(3)
    np.random.seed(3)
    torch.manual_seed(3)
    before = (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy())

    def make():
        random.random(), np.random.rand(), torch.rand(1)
        return norm_net()

    module = build(of_layers(make))
    norm = module.get_submodule("net.1")
    assert norm.num_batches_tracked.item() == 0
    assert norm.running_mean.abs().sum() == 0
    assert torch.equal(norm.running_var, torch.ones(8))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.array_equal(np.random.get_state()[1], before[2])
    assert all(parameter.grad is None for parameter in module.parameters())


def test_building_for_another_mode_leaves_no_trace_either():
    module = build(of_layers(norm_net), "eval")
    features, labels = batch()
    before = weights(module)
    module.build(features, labels, "train")
    assert same(weights(module), before)
    assert module.built_modes == {"train", "eval"}


def test_a_failed_building_call_leaves_no_trace_in_the_random_numbers():
    state = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError):
        build(of_layers(lambda: nn.Linear(int(torch.rand(1)) // 0, 1)))
    assert torch.equal(torch.get_rng_state(), state)


def test_the_result_of_building_holds_no_graph():
    module = te.ModelFnModule(of_layers(norm_net))
    spec = module.build(*batch(), "train")
    assert spec.loss.grad_fn is None
    assert spec.train_op.loss.grad_fn is None
    assert spec.train_op.optimizer_fn is sgd


def three_nets(order, others, seed):
    """The weights of three layers by name, made in some order beside some others."""

    def model_fn(features, labels, mode):
        for index in range(others):
            te.get_module(f"other{index}", lambda: nn.Linear(3, 3))
        nets = {name: te.get_module(name, lambda: nn.Linear(4, 3)) for name in order}
        return spec_of(sum(net(features["x"]) for net in nets.values()), labels, mode)

    module = build(model_fn, seed=seed)
    return {name: module.get_submodule(name).weight.detach() for name in order}


@settings(deadline=None, max_examples=20)
@given(st.permutations(["a", "b", "scope/c"]), st.integers(0, 3), st.integers(0, 2**63))
def test_weights_depend_on_the_seed_and_the_name_alone(order, others, seed):
    torch.manual_seed(others)
    made, expected = three_nets(order, others, seed), three_nets(["a", "b", "scope/c"], 0, seed)
    assert same(made, {name: expected[name] for name in order})
    assert not torch.equal(made["a"], made["b"])
    assert not torch.equal(made["a"], three_nets(order, others, seed + 1)["a"])


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
def test_lazy_layers_are_reproducible_traceless_and_different():
    def make():
        return nn.Sequential(
            nn.LazyLinear(4), nn.LazyBatchNorm1d(), nn.ReLU(), nn.LazyLinear(4), nn.LazyLinear(3, bias=False)
        )

    torch.manual_seed(0)
    state = torch.get_rng_state()
    one = build(of_layers(make))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1)
    two = build(of_layers(make))
    assert same(weights(one), weights(two))
    net = one.get_submodule("net")
    assert type(net[0]) is nn.Linear
    assert type(net[1]) is nn.BatchNorm1d
    assert not torch.equal(net[0].weight, net[3].weight)
    assert net[1].num_batches_tracked.item() == 0
    assert net[1].running_mean.abs().sum() == 0
    assert not net[0]._forward_pre_hooks
    assert one(*batch()).loss.isfinite()


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
def test_a_lazy_layer_that_did_not_run_is_an_error():
    def model_fn(features, labels, mode):
        te.get_module("unused", lambda: nn.LazyLinear(3))
        return spec_of(te.get_module("net", lambda: nn.Linear(4, 3))(features["x"]), labels, mode)

    with pytest.raises(RuntimeError, match=r"\['unused.weight', 'unused.bias'\] have no sizes yet"):
        build(model_fn)


def test_layers_are_placed_on_the_device():
    module = te.ModelFnModule(of_layers(norm_net), device="meta")
    module.build({"x": torch.ones(2, 4, device="meta")}, torch.ones(2, dtype=torch.long, device="meta"), "train")
    assert {value.device.type for value in module.state_dict().values()} == {"meta"}


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
@pytest.mark.parametrize(
    "make", [norm_net, lambda: nn.Sequential(nn.LazyLinear(8), nn.LazyBatchNorm1d(), nn.Linear(8, 3))]
)
def test_weights_do_not_depend_on_the_device(make):
    features, labels = batch()
    on_cuda = te.ModelFnModule(of_layers(make), seed=7, device="cuda")
    state = torch.cuda.get_rng_state()
    on_cuda.build({"x": features["x"].cuda()}, labels.cuda(), "train")
    assert torch.equal(torch.cuda.get_rng_state(), state)
    assert {value.device.type for value in on_cuda.state_dict().values()} == {"cuda"}
    expected = weights(build(of_layers(make)))
    assert same({name: value.cpu() for name, value in on_cuda.state_dict().items()}, expected)


def test_the_names_are_frozen():
    extra = []

    def model_fn(features, labels, mode):
        net = te.get_module("hidden", lambda: nn.Linear(4, 3))
        te.get_parameter("bias", lambda: torch.zeros(3))
        for action in extra:
            action()
        return spec_of(net(features["x"]), labels, mode)

    module = build(model_fn)
    for action, message in [
        (lambda: te.get_module("hiden", nn.ReLU), r"Did you mean 'hidden'\?.*Existing names: \['hidden', 'bias'\]"),
        (lambda: te.get_parameter("zzz", lambda: torch.ones(1)), "fixed after the first call of model_fn"),
        (lambda: te.get_parameter("hidden", lambda: torch.ones(1)), r"is a module. Write: te.get_module\('hidden'"),
        (lambda: te.get_module("bias", nn.ReLU), r"is a parameter. Write: te.get_parameter\('bias'"),
    ]:
        extra[:] = [action]
        with pytest.raises(RuntimeError, match=message):
            module(*batch())
    extra.clear()
    assert module(*batch()).loss.isfinite()


def test_before_building_there_are_no_names():
    with pytest.raises(RuntimeError, match="is not built yet"):
        te.ModelFnModule(of_layers(norm_net))(*batch())


def test_a_module_made_before_is_copied_with_its_weights():
    net = nn.Sequential(nn.Linear(4, 3))
    original = weights(net)
    one, two = build(of_layers(lambda: net)), build(of_layers(lambda: net))
    assert torch.equal(one.get_parameter("net.0.weight"), net[0].weight)
    with torch.no_grad():
        one.get_parameter("net.0.weight").add_(1)
    assert same(weights(net), original)
    assert torch.equal(two.get_parameter("net.0.weight"), net[0].weight)


def test_a_copied_module_goes_on_sharing_with_the_model():
    head = nn.Linear(4, 3)

    class Both(nn.Module):
        def __init__(self, encoder):
            super().__init__()
            self.encoder, self.head = encoder, head

        def forward(self, x):
            return self.head(self.encoder(x))

    def model_fn(features, labels, mode):
        encoder = te.get_module("encoder", lambda: nn.Linear(4, 4))
        return spec_of(te.get_module("both", lambda: Both(encoder))(features["x"]), labels, mode)

    module = build(model_fn)
    assert module.get_submodule("both.encoder") is module.get_submodule("encoder")
    assert module.get_submodule("both.head") is not head


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda net, x, y: F.cross_entropy(nn_outside(net(x)), y), RuntimeError, r"1 parameter.*shapes \[3, 3\]"),
        (lambda net, x, y: net(x).detach().sum().requires_grad_(), None, ""),
        (lambda net, x, y: F.cross_entropy(net(x), y).detach(), ValueError, "does not depend on any trainable"),
        (lambda net, x, y: (net(x).argmax(-1) == y).float().mean(), ValueError, "argmax"),
    ],
)
def test_losses_of_the_wrong_parameters(change, error, message):
    def model_fn(features, labels, mode):
        loss = change(te.get_module("net", lambda: nn.Linear(4, 3)), features["x"], labels)
        return te.EstimatorSpec(mode, loss=loss, train_op=te.group(te.minimize(loss, sgd)))

    if error is None:
        build(model_fn)
    else:
        with pytest.raises(error, match=message):
            build(model_fn)
        build(model_fn, "eval")


OUTSIDE = nn.Linear(3, 3, bias=False)


def nn_outside(x):
    return OUTSIDE(x)


@pytest.mark.parametrize(
    ("model_fn", "labels", "error", "message"),
    [
        (lambda features: None, None, TypeError, "returned None. Is a `return"),
        (lambda features: {"loss": 1}, None, TypeError, "must return a te.EstimatorSpec. Received: {'loss': 1}"),
        (
            lambda features: te.EstimatorSpec("infer", predictions=features),
            1,
            ValueError,
            "takes no argument named `labels`",
        ),
        (lambda features: te.EstimatorSpec("infer", predictions=features), None, ValueError, "in mode 'eval' and must"),
    ],
)
def test_wrong_results_are_refused(model_fn, labels, error, message):
    with pytest.raises(error, match=message):
        te.ModelFnModule(model_fn).build(torch.ones(2), labels, "eval")


def test_the_mode_of_later_specs_is_checked_too():
    module = build(lambda features, labels, mode: te.EstimatorSpec("infer", predictions=features["x"]), "infer")
    module.set_mode("eval")
    with pytest.raises(ValueError, match=r"Received: EstimatorSpec\(mode='infer'\)"):
        module(*batch())


def test_two_models_run_in_two_threads_at_once():
    modules = [build(rich_model_fn, params={"scale": scale}, seed=seed) for seed, scale in ((1, 1.0), (2, 3.0))]
    for module in modules:
        module.set_mode("infer")
    features, _ = batch()
    with torch.no_grad():
        expected = [module(features).predictions["probabilities"] for module in modules]
    barrier, failures = threading.Barrier(2), []

    def run(module, value):
        barrier.wait()
        with torch.no_grad():
            for _ in range(200):
                if not torch.equal(module(features).predictions["probabilities"], value):
                    failures.append(module)

    threads = [threading.Thread(target=run, args=pair) for pair in zip(modules, expected, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_copies_are_equal_and_independent():
    module = build(rich_model_fn, params={"scale": 1.0})
    features, labels = batch()
    module.global_step = 4
    loss = module(features, labels).loss
    twin = copy.deepcopy(module)
    assert twin.global_step == 4
    assert torch.equal(twin(features, labels).loss, loss)
    loss.backward()
    assert twin.get_parameter("weight").grad is None
    with torch.no_grad():
        twin.get_parameter("weight").zero_()
    assert module.get_parameter("weight").abs().sum() > 0


def test_state_dicts_carry_a_model_over():
    one, two = (build(rich_model_fn, params={"scale": 1.0}, seed=seed) for seed in (1, 2))
    features, labels = batch()
    one(features, labels)
    assert not same(weights(one), weights(two))
    two.load_state_dict(one.state_dict())
    assert same(weights(one), weights(two))
    assert torch.equal(one(features, labels).loss, two(features, labels).loss)


@pytest.mark.parametrize("mode", MODES)
def test_compiled_models_give_the_same_numbers(mode):
    torch.compiler.reset()
    graphs = []

    def backend(graph_module, _inputs):
        graphs.append(graph_module)
        return graph_module.forward

    module = build(rich_model_fn, params={"scale": 1.5})
    module.set_mode(mode)
    twin = copy.deepcopy(module)
    compiled = torch.compile(module, fullgraph=True, backend=backend)
    losses = []
    with torch.set_grad_enabled(mode == "train"):
        for step in range(4):
            features, labels = batch(seed=step)
            labels = None if mode == "infer" else labels
            spec, expected = compiled(features, labels), twin(features, labels)
            assert isinstance(spec, te.EstimatorSpec)
            assert torch.equal(module.named_tensors["tower/hidden"], twin.named_tensors["tower/hidden"])
            if mode == "infer":
                assert torch.equal(spec.predictions["probabilities"], expected.predictions["probabilities"])
                assert torch.equal(
                    spec.export_outputs["serving_default"].outputs["probabilities"], spec.predictions["probabilities"]
                )
                continue
            assert torch.equal(spec.loss, expected.loss)
            losses.append(spec.loss.item())
            if mode == "eval":
                metrics = [each.eval_metric_ops["accuracy"].compute() for each in (spec, expected)]
                assert torch.equal(*metrics)
            else:
                for each in (spec, expected):
                    each.train_op.loss.backward()
                module.advance(), twin.advance()
    assert len(graphs) == 1, "the global step or the batch made it compile anew"
    for one, other in zip(module.parameters(), twin.parameters(), strict=True):
        assert (one.grad is None) == (mode != "train")
        assert one.grad is None or torch.equal(one.grad, other.grad)
    assert same(weights(module), weights(twin))


class Serving(nn.Module):
    """What an exporter hands over: tensors in, tensors out."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model({"x": x}).predictions


def test_export_with_any_batch_size():
    module = build(rich_model_fn, params={"scale": 1.0})
    module.set_mode("infer")
    module.global_step = 5
    serving = Serving(module)
    program = torch.export.export(serving, (batch(5)[0]["x"],), dynamic_shapes={"x": {0: torch.export.Dim("batch")}})
    assert "model.tower/net.0.weight" in program.state_dict
    for rows in (1, 2, 7):
        x = batch(rows, seed=rows)[0]["x"]
        with torch.no_grad():
            assert torch.equal(program.module()(x)["probabilities"], serving(x)["probabilities"])
    # Nothing of the tracing has stayed in the model.
    module.set_mode("train")
    assert module(*batch()).loss.isfinite()


@pytest.mark.filterwarnings("ignore:.torch.jit.trace:DeprecationWarning")
def test_trace():
    module = build(rich_model_fn, params={"scale": 1.0})
    module.set_mode("infer")
    serving = Serving(module)
    traced = torch.jit.trace(serving, (batch(5)[0]["x"],), strict=False)
    x = batch(7)[0]["x"]
    assert torch.equal(traced(x)["probabilities"], serving(x)["probabilities"])


class Frozen(nn.Module):
    """Stays in evaluation, whatever its parent does."""

    def train(self, mode=True):
        return super().train(False)


@pytest.mark.parametrize("part", [nn.Sequential(nn.Dropout(), nn.Sequential(nn.BatchNorm1d(3))), Frozen()])
def test_modes_reach_every_part_as_they_do_in_torch(part):
    def model_fn(features, mode):
        net = te.get_module("part", lambda: copy.deepcopy(part))
        predictions = {
            "x": features["x"] + te.get_parameter("bias", lambda: torch.zeros(())) + 0 * len(list(net.modules()))
        }
        return te.EstimatorSpec(mode, predictions=predictions)

    module = te.ModelFnModule(model_fn)
    module.build({"x": torch.zeros(2)}, None, te.ModeKeys.PREDICT)
    for training in (True, False, True):
        plain = copy.deepcopy(part).train(training)
        assert module.train(training) is module
        assert [each.training for each in module.part.modules()] == [each.training for each in plain.modules()]
        assert module.training == training
