"""What a serving_input_receiver_fn returns: the tensors that clients send, and the features made of them."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor

from torchestimator.tree import tensors_of


class _Receiver(NamedTuple):
    features: Any
    receiver_tensors: dict[str, Tensor]
    receiver_tensors_alternatives: dict[str, dict[str, Tensor]] | None


class ServingInputReceiver(_Receiver):
    """Features of a model to be served, and the tensors that clients send for them.

    Args:
        features: [batch, ...] what model_fn gets: a dict of tensors; a single tensor becomes {"feature": tensor}.
        receiver_tensors: what clients send: placeholders (`te.export.placeholder`) by name; a single one
            becomes {"input": tensor}. Plain tensors serve as examples of it where they are the features themselves.
        receiver_tensors_alternatives: further ways to call the model, by name: a dict of tensors each, which must be
            the features, to be sent directly. They become signatures `<name>:<signature>`.

    Raises:
        TypeError: a part is of the wrong type.
        ValueError: a part is missing.
    """

    __slots__ = ()

    def __new__(
        cls,
        features: Any,
        receiver_tensors: Tensor | Mapping[str, Tensor],
        receiver_tensors_alternatives: Mapping[str, Tensor | Mapping[str, Tensor]] | None = None,
    ) -> "ServingInputReceiver":
        if isinstance(features, Tensor):
            features = {"feature": features}
        return super().__new__(
            cls,
            _checked_features(features, "features"),
            _checked_tensors(receiver_tensors, "receiver_tensors"),
            _checked_alternatives(receiver_tensors_alternatives),
        )


class TensorServingInputReceiver(_Receiver):
    """As `ServingInputReceiver`, for a model_fn whose `features` are a single tensor and no dict.

    Args:
        features: [batch, ...] the tensor that model_fn gets.
        receiver_tensors: as for `ServingInputReceiver`.
        receiver_tensors_alternatives: as for `ServingInputReceiver`.

    Raises:
        TypeError: a part is of the wrong type.
        ValueError: a part is missing.
    """

    __slots__ = ()

    def __new__(
        cls,
        features: Tensor,
        receiver_tensors: Tensor | Mapping[str, Tensor],
        receiver_tensors_alternatives: Mapping[str, Tensor | Mapping[str, Tensor]] | None = None,
    ) -> "TensorServingInputReceiver":
        if not isinstance(features, Tensor):
            raise TypeError(
                f"`features` of a TensorServingInputReceiver must be one tensor. Received: {type(features).__name__}. "
                "For a dict of features use te.export.ServingInputReceiver."
            )
        return super().__new__(
            cls,
            features,
            _checked_tensors(receiver_tensors, "receiver_tensors"),
            _checked_alternatives(receiver_tensors_alternatives),
        )


class _SupervisedReceiver(NamedTuple):
    features: Any
    labels: Any
    receiver_tensors: dict[str, Tensor]


class SupervisedInputReceiver(_SupervisedReceiver):
    """Features and labels of a model to be trained or evaluated outside of the Estimator.

    Args:
        features: [batch, ...] what model_fn gets: a tensor or a dict of such.
        labels: likewise.
        receiver_tensors: what is sent: placeholders by name.

    Raises:
        TypeError: a part is of the wrong type.
        ValueError: a part is missing.
    """

    __slots__ = ()

    def __new__(
        cls, features: Any, labels: Any, receiver_tensors: Tensor | Mapping[str, Tensor]
    ) -> "SupervisedInputReceiver":
        return super().__new__(
            cls,
            _checked_features(features, "features"),
            _checked_features(labels, "labels"),
            _checked_tensors(receiver_tensors, "receiver_tensors"),
        )


def _checked_features(features: Any, argument: str) -> Any:
    if features is None or not tensors_of(features):
        raise ValueError(f"`{argument}` of a receiver must hold at least one tensor. Received: {features!r}.")
    if isinstance(features, Mapping):
        for name, value in features.items():
            if not tensors_of(value):
                raise TypeError(f"`{argument}` must hold tensors. Received: {name}={value!r}.")
    return features


def _checked_tensors(tensors: Any, argument: str) -> dict[str, Tensor]:
    named = {"input": tensors} if isinstance(tensors, Tensor) else tensors
    if not isinstance(named, Mapping) or not named:
        raise TypeError(
            f"`{argument}` must be a dict from name to placeholder. Received: {named!r}. "
            'Write: x = te.export.placeholder(torch.float32, [None, 20], "x"); te.export.ServingInputReceiver('
            '{"x": x}, {"x": x})'
        )
    for name, tensor in named.items():
        if not isinstance(name, str):
            raise TypeError(f"Keys of `{argument}` must be strings. Received: {name!r}.")
        if not isinstance(tensor, Tensor):
            raise TypeError(f"Values of `{argument}` must be tensors. Received: {name}={tensor!r}.")
    return dict(named)


def _checked_alternatives(alternatives: Any) -> dict[str, dict[str, Tensor]] | None:
    if alternatives is None:
        return None
    if not isinstance(alternatives, Mapping):
        raise TypeError(
            f"`receiver_tensors_alternatives` must be a dict from name to tensors. Received: {alternatives!r}."
        )
    return {
        name: _checked_tensors(tensors, f"receiver_tensors_alternatives[{name!r}]")
        for name, tensors in alternatives.items()
    }
