"""What the variables of TensorFlow's canned Estimators are called here: all rules, in one table.

A name is TensorFlow's scope, a dot, and the parameter's name in its module: `dnn/hiddenlayer_0/kernel` is the `weight`
of the Linear `dnn/hiddenlayer_0`. A variable that no rule knows keeps its name and layout.
"""

import re
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Rule:
    """What becomes of the variables whose whole name matches."""

    pattern: str
    """A regular expression; the group `column` becomes a module's name, other groups are kept."""
    name: str
    """A format of these groups."""
    is_transposed: bool = False
    """Whether the matrix is stored the other way round: kernels are [inputs, outputs], a Linear's weight is not."""


_DENSE = r"(?P<scope>(?:.*/)?(?:hiddenlayer_\d+|logits))"
_BATCH_NORM = r"(?P<scope>(?:.*/)?batchnorm_\d+)"

RULES = (
    Rule(rf"{_DENSE}/kernel", "{scope}.weight", is_transposed=True),
    Rule(rf"{_DENSE}/bias", "{scope}.bias"),
    Rule(rf"{_BATCH_NORM}/gamma", "{scope}.weight"),
    Rule(rf"{_BATCH_NORM}/beta", "{scope}.bias"),
    Rule(rf"{_BATCH_NORM}/moving_mean", "{scope}.running_mean"),
    Rule(rf"{_BATCH_NORM}/moving_variance", "{scope}.running_var"),
    Rule(r"(?P<scope>.*_cell(?:_\d+)?)/(?P<parameter>kernel|recurrent_kernel|bias)", "{scope}.{parameter}"),
    Rule(r"(?P<scope>(?:.*/)?linear_model)/bias_weights", "{scope}.bias_weights"),
    Rule(r"(?P<scope>(?:.*/)?linear_model)/(?P<column>[^/]+)/weights", "{scope}.{column}.weights"),
    Rule(
        r"(?P<scope>(?:.*/)?(?:input_layer|dense_features|sequence_features)(?:_\d+)?)/(?P<column>[^/]+)/embedding_weights",
        "{scope}.{column}.embedding_weights",
    ),
)

_OPTIMIZERS = "Adagrad|Adam|Ftrl|RMSprop|SGD"
KERAS_SLOT = re.compile(
    rf"training(?:_\d+)?/(?:{_OPTIMIZERS})/(?P<variable>.+)/(?P<slot>accumulator|linear|m|v|vhat|rms|mg|momentum)"
)
"""A slot of a Keras optimizer, tf.estimator's (v2); slots have the same names here."""
V1_SLOT = re.compile(r"(?P<variable>.+?)(?:/(?:t_\d+|part_\d+))?/(?P<slot>(?:Adagrad|Adam|Ftrl|RMSProp)(?:_\d)?)")
"""A slot of a tf.compat.v1 optimizer; that of a partitioned variable has a name for each part."""
V1_SLOTS = {
    "Adagrad": "accumulator",
    "Adam": "m",
    "Adam_1": "v",
    "Ftrl": "accumulator",
    "Ftrl_1": "linear",
    "RMSProp": "rms",
    "RMSProp_1": "momentum",
}
"""What the slots of tf.compat.v1 optimizers are called here; those of RMSProp that is not centered."""

STEPS_OF_ADAM = re.compile(r"training(?:_\d+)?/Adam/iter")
"""Adam's own count of steps; where there is none, it is the global step."""
NO_WEIGHTS = re.compile(
    rf"global_step|_CHECKPOINTABLE_OBJECT_GRAPH|(?:.*/)?beta[12]_power|training(?:_\d+)?/(?:{_OPTIMIZERS})/[^/]+"
    r"|.*/\.ATTRIBUTES/.*CONFIG_JSON|save_counter/.*|.+/Momentum"
)
"""What is neither weight nor usable slot.

Counters; the hyperparameters that TensorFlow stores; and what tf.compat.v1's MomentumOptimizer sums up, gradients that
are not yet multiplied by its rate, as those of `te.optim.SGD` are, and the rate is not stored.
"""


def translate(variable: str) -> tuple[str, bool]:
    """What a variable is called here, and whether it is a matrix to be transposed."""
    for rule in RULES:
        match = re.fullmatch(rule.pattern, variable)
        if match is not None:
            groups = match.groupdict()
            if "column" in groups:
                groups["column"] = _module_name(groups["column"])
            return rule.name.format(**groups), rule.is_transposed
    return variable, False


def _module_name(column: str) -> str:
    """The name of a column's submodule: without what a module cannot have in names, as `ColumnLayer` makes it."""
    name = column.replace(".", "_")
    while hasattr(nn.Module, name) or name == "training":
        name += "_"
    return name
