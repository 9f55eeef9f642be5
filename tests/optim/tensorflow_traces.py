"""What TensorFlow 2.15's optimizers make of 20 random gradients, dense and sparse.

Recorded with `python tests/optim/tensorflow_traces.py`, where tensorflow-cpu 2.15 is installed. The
first row of the sparse gradients' table is never touched.
"""

import json
from pathlib import Path

import numpy as np

STEPS = 20
SHAPE = (6, 2)
LEARNING_RATE = 0.05
RECORDED = Path(__file__).with_name("tensorflow_traces.json")

CASES = {
    "ftrl": ("Ftrl", {}),
    "ftrl_l1_l2": ("Ftrl", {"l1_regularization_strength": 0.1, "l2_regularization_strength": 0.2}),
    "ftrl_everything": (
        "Ftrl",
        {
            "learning_rate_power": -0.7,
            "initial_accumulator_value": 0.3,
            "l1_regularization_strength": 0.05,
            "l2_regularization_strength": 0.1,
            "l2_shrinkage_regularization_strength": 0.02,
            "beta": 0.4,
        },
    ),
    "adagrad": ("Adagrad", {}),
    "adagrad_clipnorm": ("Adagrad", {"clipnorm": 1.5, "initial_accumulator_value": 0.5, "epsilon": 1e-3}),
    "adam": ("Adam", {}),
    "adam_amsgrad": ("Adam", {"amsgrad": True, "beta_1": 0.8, "beta_2": 0.9, "epsilon": 1e-4}),
    "rmsprop": ("RMSProp", {}),
    "rmsprop_centered": ("RMSProp", {"centered": True, "rho": 0.8}),
    "rmsprop_momentum": ("RMSProp", {"momentum": 0.7, "epsilon": 1e-2}),
    "rmsprop_momentum_centered": ("RMSProp", {"momentum": 0.5, "centered": True, "epsilon": 1e-2}),
    "sgd": ("SGD", {}),
    "sgd_momentum": ("SGD", {"momentum": 0.9, "clipnorm": 2.0}),
    "sgd_nesterov": ("SGD", {"momentum": 0.9, "nesterov": True}),
}
"""By name: the optimizer and its options besides the learning rate."""


def initial_weights():
    """[6, 2] where every training begins."""
    return np.random.RandomState(7).randn(*SHAPE).astype(np.float32)


def gradients():
    """20 pairs of ids [5], of which some are equal and none is 0, and values [5, 2]."""
    random = np.random.RandomState(8)
    return [
        (random.randint(1, SHAPE[0], 5), random.randn(5, SHAPE[1]).astype(np.float32) + np.float32(0.3))
        for _ in range(STEPS)
    ]


def dense(ids, values):
    """[6, 2] a gradient's sums per row."""
    total = np.zeros(SHAPE, np.float32)
    np.add.at(total, ids, values)
    return total


def record():
    """Runs TensorFlow and writes weights and slots after the last step."""
    import tensorflow as tf

    def run(kind, options, is_sparse):
        weights = tf.Variable(initial_weights())
        optimizer = getattr(tf.keras.optimizers.legacy, kind.replace("RMSProp", "RMSprop"))(LEARNING_RATE, **options)
        for ids, values in gradients():
            sparse = tf.IndexedSlices(tf.constant(values), tf.constant(ids), SHAPE)
            optimizer.apply_gradients([(sparse if is_sparse else tf.constant(dense(ids, values)), weights)])
        tensors = {"weights": weights} | {
            name: optimizer.get_slot(weights, name) for name in optimizer.get_slot_names()
        }
        return {name: [round(float(x), 7) for x in tensor.numpy().ravel()] for name, tensor in tensors.items()}

    traces = {
        name: {"dense": run(kind, options, False), "sparse": run(kind, options, True)}
        for name, (kind, options) in CASES.items()
    }
    lines = [f'"{name}/{form}": {json.dumps(trace)}' for name, forms in traces.items() for form, trace in forms.items()]
    RECORDED.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    record()
