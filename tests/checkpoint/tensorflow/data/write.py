"""Writes the checkpoints of this folder and what TensorFlow reads in them. Needs tensorflow 2.15: python write.py

`expected.json` has for each checkpoint its tensors: dtype, shape, and the bytes in hexadecimal (of strings: each).
"""

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf

HERE = Path(__file__).parent
expected = {}


def tensors_of(prefix):
    reader = tf.train.load_checkpoint(prefix)
    found = {}
    for name in reader.get_variable_to_shape_map():
        try:
            value = reader.get_tensor(name)
        except ValueError:  # TensorFlow cannot read the slots of partitioned variables
            found[name] = None
            continue
        array = np.asarray(value)
        if array.dtype == object or array.dtype.kind == "S":
            strings = np.asarray(value, dtype=object).ravel().tolist()
            found[name] = ["string", list(array.shape), [each.hex() for each in strings]]
        else:
            if array.dtype == tf.bfloat16.as_numpy_dtype:
                array = array.astype(np.float32)
            found[name] = [str(array.dtype), list(array.shape), array.tobytes().hex()]
    return dict(sorted(found.items()))


def keep(name, prefix):
    target = HERE / name
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    prefix = Path(prefix)
    for path in prefix.parent.glob(f"{prefix.name}.[id]*"):
        shutil.copy(path, target)
    (target / "checkpoint").write_text(f'model_checkpoint_path: "{prefix.name}"\n')
    expected[name] = tensors_of(str(prefix))


def batches():
    features = {"n": tf.constant([[1.0, 2.0], [3.0, 4.0], [0.5, -1]]), "c": tf.constant([["a"], ["b"], ["zz"]])}
    return tf.data.Dataset.from_tensors((features, tf.constant([[0], [1], [1]]))).repeat()


def train(name, estimator_class, **arguments):
    with tempfile.TemporaryDirectory() as folder:
        config = tf.estimator.RunConfig(tf_random_seed=1)
        estimator_class(model_dir=folder, config=config, **arguments).train(batches, steps=3)
        keep(name, tf.train.latest_checkpoint(folder))


def train_estimators():
    v1, v2 = tf.compat.v1.estimator, tf.estimator
    number = tf.feature_column.numeric_column("n", shape=(2,))
    category = tf.feature_column.categorical_column_with_vocabulary_list("c", ["a", "b", "d"])
    embedding = tf.feature_column.embedding_column(category, 4)
    halves = tf.compat.v1.fixed_size_partitioner(2)
    deep = {"feature_columns": [number, embedding], "hidden_units": [3, 2], "batch_norm": True}
    train("linear_v2", v2.LinearClassifier, feature_columns=[number, category])
    train("linear_v1_partitioned", v1.LinearClassifier, feature_columns=[number, category], partitioner=halves)
    train("dnn_v2", v2.DNNClassifier, **deep)
    train("dnn_v1", v1.DNNClassifier, **deep)
    train("dnn_adam_v1", v1.DNNClassifier, feature_columns=[number], hidden_units=[3], optimizer="Adam")
    train("dnn_adam_v2", v2.DNNClassifier, feature_columns=[number], hidden_units=[3], optimizer="Adam")
    train("dnn_rmsprop_v2", v2.DNNClassifier, feature_columns=[number], hidden_units=[3], optimizer="RMSProp")
    train(
        "wide_and_deep_v2",
        v2.DNNLinearCombinedClassifier,
        linear_feature_columns=[number, category],
        dnn_feature_columns=[number, embedding],
        dnn_hidden_units=[3, 2],
    )
    train(
        "wide_and_deep_v1",
        v1.DNNLinearCombinedClassifier,
        linear_feature_columns=[number, category],
        dnn_feature_columns=[number, embedding],
        dnn_hidden_units=[3, 2],
    )


def write_every_dtype():
    numbers = {f"{dtype}": np.array([[0, 1, 100]], dtype) for dtype in ["int8", "uint8", "int16", "uint16", "float16"]}
    numbers |= {f"{dtype}": np.array([0, 2**31 - 1], dtype) for dtype in ["int32", "uint32", "float64"]}
    numbers |= {"int64": np.array(-(2**62)), "uint64": np.array([2**63], "u8"), "bool": np.array([True, False])}
    numbers |= {"float32": np.array([[1.5, -np.inf]], "f4"), "complex64": np.array([1 + 2j], "c8")}
    numbers |= {"complex128": np.array([1 / 3 - 2j]), "empty": np.zeros((0, 3), "f4")}
    variables = {name: tf.Variable(value) for name, value in numbers.items()}
    variables["bfloat16"] = tf.Variable(tf.cast([1.5, 3.140625, -1e30], tf.bfloat16))
    variables["strings"] = tf.Variable([["", "gr\u00fcn"], ["x" * 200, "a\0b"]])
    variables["string"] = tf.Variable("one")
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = tf.train.Checkpoint(step=tf.Variable(5, dtype=tf.int64), **variables)
        keep("objects", checkpoint.save(f"{folder}/ckpt"))


def write_slices_in_shards():
    table = np.arange(300, dtype=np.float32).reshape(100, 3)
    wide = np.arange(40, dtype=np.int64).reshape(2, 20)
    with tempfile.TemporaryDirectory() as folder:
        parts = [
            (["table", "wide"], ["100 3 0,70:-", "2 20 0,2:0,15"], [table[:70], wide[:, :15]]),
            (["table", "wide"], ["100 3 70,30:-", "2 20 0,2:15,5"], [table[70:], wide[:, 15:]]),
            (["global_step"], [""], [np.int64(7)]),
        ]
        prefixes = [f"{folder}/part-{index}" for index in range(len(parts))]
        for prefix, (names, slices, values) in zip(prefixes, parts, strict=True):
            tensors = [tf.constant(value) for value in values]
            tf.raw_ops.SaveV2(prefix=prefix, tensor_names=names, shape_and_slices=slices, tensors=tensors)
        tf.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=prefixes, destination_prefix=f"{folder}/model.ckpt-7")
        keep("sliced_and_sharded", f"{folder}/model.ckpt-7")


if __name__ == "__main__":
    train_estimators()
    write_every_dtype()
    write_slices_in_shards()
    (HERE / "expected.json").write_text(json.dumps(expected, indent=0))
