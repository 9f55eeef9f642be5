"""ModelFnModule: a model_fn as an nn.Module."""

import difflib
import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin

from torchestimator.mode_keys import ModeKeys
from torchestimator.model.arguments import check_model_fn, function_name
from torchestimator.model.autograd_leaves import check_leaves
from torchestimator.model.frame import FRAMES, Frame
from torchestimator.model.seeds import derive_seed, forked_random
from torchestimator.spec import EstimatorSpec

M = TypeVar("M", bound=nn.Module)


class _CallState:
    """What changes from call to call; a plain object, since setting attributes of a module is slow."""

    __slots__ = ("global_step", "mode", "named", "step_tensor")

    def __init__(self) -> None:
        self.mode: str = ModeKeys.TRAIN
        self.global_step = 0
        self.named: dict[str, Tensor] = {}
        self.step_tensor: Tensor | None = None


class ModelFnModule(nn.Module):
    """A model_fn whose submodules and parameters are those it asked for by name.

    `build` runs the model_fn once on a real batch, which creates them; from then on the set of
    names is frozen and `forward` only runs the model_fn. This module is what strategies wrap and
    what torch.compile and the exporters receive. Its state dict has the scoped names:
    `tower/net.0.weight` for a module "net" in a scope "tower", `bias` for a parameter "bias".

    Args:
        model_fn: the user's function.
        params: passed on as `params`; None where the user gave none.
        config: passed on as `config`.
        model_dir: passed on as `model_dir`.
        seed: the seed from which each name's own seed is derived.
        device: where modules are placed. They are always initialised on the CPU, so that their
            weights do not depend on it.
    """

    def __init__(
        self,
        model_fn: Callable[..., EstimatorSpec],
        *,
        params: Mapping[str, Any] | None = None,
        config: object = None,
        model_dir: str | None = None,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__()
        taken = check_model_fn(model_fn, params)
        offered = {"params": {} if params is None else params, "config": config, "model_dir": model_dir}
        self._model_fn = model_fn
        self._constant_arguments = {name: value for name, value in offered.items() if name in taken}
        self._takes_labels = "labels" in taken
        self._takes_mode = "mode" in taken
        self._seed = seed
        self._device = torch.device(device)
        self._building = False
        self._built_modes: frozenset[str] = frozenset()
        self._state = _CallState()
        self._undo: list[Callable[[], None]] = []
        self._lock = threading.Lock()

    @property
    def mode(self) -> str:
        """The mode in which `forward` calls the model_fn."""
        return self._state.mode

    @property
    def built_modes(self) -> frozenset[str]:
        """The modes in which the model_fn has been built; empty before `build`."""
        return self._built_modes

    @property
    def named_tensors(self) -> dict[str, Tensor]:
        """The tensors that the latest call named with `te.identity`."""
        return self._state.named

    @property
    def global_step(self) -> int:
        """The step that `te.get_global_step` gives."""
        return self._state.global_step

    @global_step.setter
    def global_step(self, step: int) -> None:
        self._state.global_step = step
        self._state.step_tensor = None

    def set_mode(self, mode: str) -> None:
        """Chooses the mode of the following calls; layers such as dropout follow it."""
        self._state.mode = mode
        training = mode == ModeKeys.TRAIN
        if self.training != training:
            self.train(training)

    def advance(self) -> None:
        """Counts one training step."""
        self._state.global_step += 1
        self._state.step_tensor = None

    def forward(self, features: Any, labels: Any = None) -> EstimatorSpec:
        """Runs the model_fn on one batch.

        Args:
            features: [batch, ...] a tensor or a nested dict of such.
            labels: likewise, or None.

        Raises:
            ValueError: there are labels, but the model_fn takes none.
            TypeError: the model_fn returned something else than an EstimatorSpec.
        """
        state = self._state
        arguments = {**self._constant_arguments, "features": features}
        if self._takes_labels:
            arguments["labels"] = labels
        elif labels is not None:
            self._refuse_labels()
        if self._takes_mode:
            arguments["mode"] = state.mode
        frame = Frame(self)
        stack = FRAMES.stack
        stack.append(frame)
        try:
            spec: EstimatorSpec = self._model_fn(**arguments)
        finally:
            stack.pop()
        state.named = frame.named
        if not isinstance(spec, EstimatorSpec):
            self._refuse_result(spec)
        return spec

    def build(self, features: Any, labels: Any, mode: str) -> EstimatorSpec:
        """Creates all submodules and parameters by running the model_fn once on a real batch.

        The call leaves no trace but the new names: buffers (running statistics) are put back to
        their values at creation, and the global random generators to their states before.

        Raises:
            RuntimeError: a layer was made outside `get_module`, or the loss depends on parameters
                that were not asked for by name.
            ValueError: the spec is of another mode, or its loss depends on no parameter.
        """
        self.set_mode(mode)
        self._building = True
        gradients = torch.enable_grad() if mode == ModeKeys.TRAIN else torch.no_grad()
        try:
            with gradients, forked_random(self._device, derive_seed(self._seed, "building call")):
                spec: EstimatorSpec = self(features, labels)
        finally:
            self._building = False
            with torch.no_grad():
                for undo in reversed(self._undo):
                    undo()
            self._undo.clear()
        if spec.mode != mode:
            raise ValueError(
                f"model_fn ({function_name(self._model_fn)}) was called in mode {mode!r} and must return a "
                "spec of that "
                f"mode. Received: EstimatorSpec(mode={spec.mode!r}). Write: te.EstimatorSpec(mode, ...)"
            )
        if mode == ModeKeys.TRAIN:
            check_leaves(spec, self)
        self._built_modes |= {mode}
        return spec

    def module_named(self, name: str, factory: Callable[[], M]) -> M:
        """The submodule of that scoped name: see `te.get_module`."""
        found = self._modules.get(name)
        if found is None:
            found = self._create("get_module", name, factory, self._new_module)
        return found  # type: ignore[return-value]

    def parameter_named(self, name: str, factory: Callable[[], Tensor]) -> nn.Parameter:
        """The parameter of that scoped name: see `te.get_parameter`."""
        found = self._parameters.get(name)
        if found is None:
            found = self._create("get_parameter", name, factory, self._new_parameter)
        return found

    def step_tensor(self) -> Tensor:
        """[] int64, the global step on the model's device."""
        state = self._state
        if state.step_tensor is None:
            state.step_tensor = torch.tensor(state.global_step, dtype=torch.int64, device=self._device)
        return state.step_tensor

    def _create(self, function: str, name: str, factory: Any, make: Callable[[str, Any], Any]) -> Any:
        if not self._building:
            self._refuse_unknown(function, name)
        if isinstance(factory, nn.Module | Tensor) or not callable(factory):
            kind = type(factory).__name__
            raise TypeError(
                f"`factory` of te.{function}({name!r}) must be a function that makes the object, so that it can be run "
                f"under the name's own seed. Received: {kind}. Write: te.{function}({name!r}, lambda: {kind}(...))"
            )
        if not name or "." in name or hasattr(self, name):
            reason = "is taken: torch.nn.Module has an attribute of that name" if name else "is empty"
            reason = "contains a dot; use name scopes or '/'" if "." in name else reason
            raise ValueError(f"`name` of te.{function} {reason}. Received: {name!r}.")
        frame = FRAMES.stack[-1]
        frame.in_factory = True
        try:
            with forked_random(seed=derive_seed(self._seed, name)), torch.device("cpu"):
                made = factory()
            return make(name, made)
        finally:
            frame.in_factory = False

    def _new_module(self, name: str, made: Any) -> nn.Module:
        if not isinstance(made, nn.Module):
            raise TypeError(
                f"`factory` of te.get_module({name!r}) must return a torch.nn.Module. Received: {made!r}. "
                "For a bare tensor use te.get_parameter."
            )
        made.to(self._device)
        made.train(self.training)
        self.add_module(name, made)
        for submodule in made.modules():
            if isinstance(submodule, LazyModuleMixin) and submodule.has_uninitialized_params():
                self._initialise_lazily(submodule, derive_seed(self._seed, name))
            else:
                self._remember_buffers(submodule)
        return made

    def _new_parameter(self, name: str, made: Any) -> nn.Parameter:
        if not isinstance(made, Tensor):
            raise TypeError(f"`factory` of te.get_parameter({name!r}) must return a tensor. Received: {made!r}.")
        trainable = made.requires_grad if isinstance(made, nn.Parameter) else made.is_floating_point()
        parameter = nn.Parameter(made.detach().to(self._device), requires_grad=trainable)
        self.register_parameter(name, parameter)
        return parameter

    def _remember_buffers(self, module: nn.Module) -> None:
        for name, buffer in module._buffers.items():
            if buffer is not None:
                self._undo.append(_put_back(module, name, buffer))

    def _initialise_lazily(self, module: nn.Module, seed: int) -> None:
        # A lazy layer draws its weights in its first forward pass: under the name's seed as well.
        # The generator is a forked one during the building call, so setting it leaves no trace.
        def before(_module: nn.Module, _inputs: Any) -> None:
            torch.manual_seed(seed)
            early.remove()

        def after(module: nn.Module, _inputs: Any) -> None:
            self._remember_buffers(module)
            late.remove()

        early = module.register_forward_pre_hook(before, prepend=True)
        late = module.register_forward_pre_hook(after)

    def _refuse_unknown(self, function: str, name: str) -> None:
        known = [*self._modules, *self._parameters]
        close = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise RuntimeError(
            f"te.{function}({name!r}) asks for a name that the model does not have.{hint} The set of names is fixed "
            f"after the first call of model_fn (in mode {'/'.join(sorted(self._built_modes))!r}), so every "
            "module must be "
            f"asked for there, under a name that does not change from call to call. Existing names: {known}."
        )

    def _refuse_labels(self) -> None:
        raise ValueError(
            f"input_fn returns labels, but `model_fn` ({function_name(self._model_fn)}) takes no argument "
            "named `labels`. "
            "Write: def model_fn(features, labels, mode), or return only features from input_fn."
        )

    def _refuse_result(self, result: object) -> None:
        name = function_name(self._model_fn)
        if result is None:
            raise TypeError(f"`model_fn` ({name}) returned None. Is a `return te.EstimatorSpec(...)` missing?")
        raise TypeError(f"`model_fn` ({name}) must return a te.EstimatorSpec. Received: {result!r}.")


def _put_back(module: nn.Module, name: str, buffer: Tensor) -> Callable[[], None]:
    value = buffer.clone()

    def undo() -> None:
        buffer.copy_(value)
        module._buffers[name] = buffer

    return undo
