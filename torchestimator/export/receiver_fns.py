"""Ready-made serving_input_receiver_fns."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from torchestimator.export.placeholder import declare, like_example, placeholder, with_feature
from torchestimator.export.receivers import (
    ServingInputReceiver,
    SupervisedInputReceiver,
    TensorServingInputReceiver,
)
from torchestimator.inputs.column import is_pandas
from torchestimator.io import FixedLenFeature, VarLenFeature


def build_raw_serving_input_receiver_fn(
    features: Any, default_batch_size: int | None = None
) -> Callable[[], ServingInputReceiver | TensorServingInputReceiver]:
    """A serving_input_receiver_fn for clients that send the features as they are.

    Args:
        features: a dict of examples [rows, ...] by name, tensors or arrays, strings as well, or a pandas DataFrame:
            their dtypes and shapes are declared, and the export is checked with their values. A single tensor is for
            a model_fn whose features are one tensor.
        default_batch_size: the only batch size that is allowed; None: any.

    Raises:
        TypeError: a feature is no tensor or array.
        ValueError: a feature has no batch dimension or no rows.
    """
    features = _columns(features)
    is_single = not isinstance(features, Mapping)
    declared = _declared({"feature": features} if is_single else features, default_batch_size)

    def serving_input_receiver_fn() -> ServingInputReceiver | TensorServingInputReceiver:
        tensors = {name: declare(each) for name, each in declared.items()}
        if is_single:
            return TensorServingInputReceiver(tensors["feature"], tensors)
        return ServingInputReceiver(dict(tensors), tensors)

    return serving_input_receiver_fn


def build_parsing_serving_input_receiver_fn(
    feature_spec: Mapping[str, Any], default_batch_size: int | None = None
) -> Callable[[], ServingInputReceiver]:
    """A serving_input_receiver_fn for clients that send serialised tf.Examples.

    The loader and the server decode them on the host; the ONNX and torch files start at the decoded features.

    Args:
        feature_spec: te.io.FixedLenFeature or te.io.VarLenFeature by feature name.
        default_batch_size: the only batch size that is allowed; None: any.

    Raises:
        TypeError: `feature_spec` holds something else.
    """
    if not isinstance(feature_spec, Mapping):
        raise TypeError(f"`feature_spec` must be a dict from feature name to feature. Received: {feature_spec!r}.")
    spec = dict(feature_spec)
    for name, feature in spec.items():
        if not isinstance(feature, FixedLenFeature | VarLenFeature):
            raise TypeError(
                "`feature_spec` must hold features such as te.io.FixedLenFeature([1], torch.float32). "
                f"Received: {name}={feature!r}."
            )
    if not spec:
        raise ValueError("`feature_spec` must name at least one feature. Received: {}.")

    def serving_input_receiver_fn() -> ServingInputReceiver:
        serialized = placeholder(str, [default_batch_size], "input_example_tensor")
        features = {
            name: declare(with_feature(name, feature, "input_example_tensor", default_batch_size))
            for name, feature in sorted(spec.items())
        }
        return ServingInputReceiver(features, {"examples": serialized})

    return serving_input_receiver_fn


def build_raw_supervised_input_receiver_fn(
    features: Any, labels: Any, default_batch_size: int | None = None
) -> Callable[[], SupervisedInputReceiver]:
    """An input receiver function of features and labels, for `experimental_export_all_saved_models`.

    Args:
        features: examples, as for `build_raw_serving_input_receiver_fn`.
        labels: likewise.
        default_batch_size: the only batch size that is allowed; None: any.

    Raises:
        ValueError: features and labels share a name.
    """
    features, labels = _columns(features), _columns(labels)
    single = {"features": not isinstance(features, Mapping), "labels": not isinstance(labels, Mapping)}
    feature_examples = {"input": features} if single["features"] else dict(features)
    label_examples = {"label": labels} if single["labels"] else dict(labels)
    shared = sorted(feature_examples.keys() & label_examples.keys())
    if shared:
        raise ValueError(f"`features` and `labels` must have different names. Received in both: {shared}.")
    declared = _declared({**feature_examples, **label_examples}, default_batch_size)

    def input_receiver_fn() -> SupervisedInputReceiver:
        tensors = {name: declare(each) for name, each in declared.items()}
        given: dict[str, Tensor | dict[str, Tensor]] = {}
        for part, names in (("features", feature_examples), ("labels", label_examples)):
            own = {name: tensors[name] for name in names}
            given[part] = next(iter(own.values())) if single[part] else own
        return SupervisedInputReceiver(given["features"], given["labels"], tensors)

    return input_receiver_fn


def _columns(examples: Any) -> Any:
    """A pandas DataFrame as a dict of its columns, as te.inputs.pandas_input_fn gives it; others as they are."""
    return dict(examples) if is_pandas(examples, "DataFrame") else examples


def _declared(examples: Mapping[str, Any], batch_size: int | None) -> dict[str, Any]:
    if not examples:
        raise ValueError("`features` must name at least one feature. Received: {}.")
    for name in examples:
        if not isinstance(name, str):
            raise TypeError(f"Names of features must be strings to be sent by a client. Received: {name!r}.")
        if isinstance(examples[name], Mapping):
            raise TypeError(
                f"Clients send tensors by name, and {name!r} is a dict of several. Write a function that declares "
                "each with te.export.placeholder and returns a te.export.ServingInputReceiver with the nested features."
            )
    return {name: like_example(name, value, batch_size) for name, value in examples.items()}
