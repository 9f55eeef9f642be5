"""The signatures that a model gives for what its clients send, found by running it."""

from collections.abc import Mapping
from dataclasses import dataclass

from torchestimator.export.outputs import DEFAULT_SERVING_SIGNATURE
from torchestimator.export.serving_inputs import ServingInputs, identifier_of
from torchestimator.export.serving_module import (
    TRAINING_METHOD,
    OutputInfo,
    ServingModule,
    describe_outputs,
    serving_module,
)
from torchestimator.mode_keys import ModeKeys
from torchestimator.model.module import ModelFnModule

_TRY_ROWS = 2


@dataclass(frozen=True)
class ExportedMode:
    """A model in one mode, and the inputs that it is exported for."""

    model: ModelFnModule
    """Built in that mode, on the CPU."""
    inputs: Mapping[str, ServingInputs]
    """The receiver's under "", its alternatives under their names."""

    @property
    def is_serving(self) -> bool:
        """Whether it is for predictions."""
        return self.model.mode == ModeKeys.PREDICT


@dataclass(frozen=True)
class SignaturePlan:
    """A signature that is to be written."""

    name: str
    """In the export: with the name of the alternative in front, if it belongs to one."""
    method_name: str
    """What kind of function it is."""
    inputs: ServingInputs
    """What clients send."""
    outputs: Mapping[str, OutputInfo]
    """What they get, by key."""
    module: ServingModule
    """Its `forward` computes the signature."""
    output_name: str
    """Its key in `export_outputs`."""
    alias_of: str | None
    """The signature with the same outputs that is written instead; None: itself."""

    @property
    def stem(self) -> str:
        """Its name in file names."""
        return identifier_of(self.name)

    @property
    def method(self) -> str:
        """Its method in a TorchScript file."""
        if self.output_name == DEFAULT_SERVING_SIGNATURE:
            return "forward"
        plain = identifier_of(self.output_name)
        return f"{plain}_signature" if hasattr(self.module, plain) else plain

    @property
    def program(self) -> str:
        """Its torch.export file."""
        if self.name == DEFAULT_SERVING_SIGNATURE:
            return "model.pt2"
        return "model_signature.pt2" if self.stem == "model" else f"{self.stem}.pt2"


def plan_signatures(mode: ExportedMode) -> list[SignaturePlan]:
    """All signatures of a mode, `serving_default` first.

    Raises:
        ValueError: an output can't be served.
    """
    plans: list[SignaturePlan] = []
    for group, inputs in mode.inputs.items():
        probe = serving_module(mode.model, inputs, {"forward": DEFAULT_SERVING_SIGNATURE})
        with mode.model.undisturbed():
            outputs = probe.export_outputs(inputs.tensors(inputs.rows(_TRY_ROWS)))
        names = sorted(outputs, key=lambda name: (name != DEFAULT_SERVING_SIGNATURE, name))
        first_of: dict[int, str] = {}
        for output_name in names:
            output = outputs[output_name]
            name = f"{group}:{output_name}" if group else output_name
            module = serving_module(mode.model, inputs, {"forward": output_name})
            with mode.model.undisturbed():
                described = describe_outputs(module, inputs, output_name)
            first = first_of.setdefault(id(output), name)
            method = TRAINING_METHOD if mode.model.mode == ModeKeys.TRAIN else output.method_name
            alias_of = None if first == name else first
            plans.append(SignaturePlan(name, method, inputs, described, module, output_name, alias_of))
    _check_stems(plans)
    return plans


def _check_stems(plans: list[SignaturePlan]) -> None:
    names: dict[str, str] = {}
    for plan in plans:
        if not plan.output_name:
            raise ValueError(
                f"A signature in `export_outputs` has no name. Received: {[each.output_name for each in plans]}."
            )
        other = names.setdefault(plan.stem, plan.name)
        if other != plan.name:
            raise ValueError(
                f"The signatures {other!r} and {plan.name!r} would have the same file name {plan.stem!r}. Rename one "
                "of them in `export_outputs`."
            )
