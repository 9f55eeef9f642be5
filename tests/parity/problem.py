"""The data and the estimators of the comparison, written once for both libraries.

Neither library is imported here: `columns` and `estimators` take the module, `tf.estimator` or `torchestimator`.
"""

import numpy as np

ROWS = 320
BATCH = 32
STEPS = 50
HALF = 25
EVALUATION_BATCH = 100
CONTINUED = (
    "LinearClassifier, Adam",
    "DNNClassifier, batch_norm",
    "DNNRegressor, RMSProp",
    "DNNLinearCombinedClassifier",
)
"""Estimators whose training is also continued from TensorFlow's slots."""
JOBS = ["baker", "clerk", "farmer"]
LEVELS = ["low", "middle", "high"]


def data():
    """Features [320], a 0/1 label, a level as a string and an income."""
    random = np.random.default_rng(11)
    age = random.uniform(18, 80, ROWS).astype(np.float32)
    score = random.standard_normal((ROWS, 2)).astype(np.float32)
    job = random.choice([*JOBS, "smith", "na\u00efve"], ROWS)
    city = random.choice([f"city {number}" for number in range(40)], ROWS)
    signal = score[:, 0] + 0.05 * (age - 50) + (job == "baker")
    labels = {
        "binary": (signal > 0).astype(np.int64),
        "level": np.array(LEVELS)[np.digitize(signal, [-1, 1])],
        "income": (3 * signal + random.standard_normal(ROWS)).astype(np.float32),
    }
    features = {"age": age / 50, "score": score, "job": job, "city": city, "weight": random.uniform(0.5, 2, ROWS)}
    features["weight"] = features["weight"].astype(np.float32)
    return features, labels


def columns(fc):
    """Columns of the linear and of the deep part."""
    age, score = fc.numeric_column("age"), fc.numeric_column("score", shape=(2,))
    decades = fc.bucketized_column(age, [0.6, 0.9, 1.2])
    job = fc.categorical_column_with_vocabulary_list("job", JOBS, num_oov_buckets=2)
    city = fc.categorical_column_with_hash_bucket("city", 30)
    linear = [decades, job, city, fc.crossed_column([decades, "job"], 50)]
    deep = [age, score, fc.indicator_column(job), fc.embedding_column(city, 4)]
    return linear, deep


def estimators(library, fc):
    """Functions of (model_dir, config) that make each estimator, with the label it learns, by name."""
    linear, deep = columns(fc)
    words = {"n_classes": 3, "label_vocabulary": LEVELS}

    def combined(kind, **arguments):
        return lambda folder, config: kind(
            model_dir=folder,
            linear_feature_columns=linear,
            dnn_feature_columns=deep,
            dnn_hidden_units=[8, 4],
            config=config,
            **arguments,
        )

    def dense(kind, **arguments):
        return lambda folder, config: kind(
            hidden_units=[8, 4], feature_columns=deep, model_dir=folder, config=config, **arguments
        )

    def wide(kind, **arguments):
        return lambda folder, config: kind(feature_columns=linear, model_dir=folder, config=config, **arguments)

    def baseline(kind, **arguments):
        return lambda folder, config: kind(model_dir=folder, config=config, **arguments)

    return {
        "LinearClassifier": (wide(library.LinearClassifier), "binary"),
        "LinearClassifier, 3 classes": (wide(library.LinearClassifier, **words), "level"),
        "LinearRegressor, weights": (wide(library.LinearRegressor, weight_column="weight"), "income"),
        "LinearClassifier, Adam": (wide(library.LinearClassifier, optimizer="Adam"), "binary"),
        "DNNClassifier": (dense(library.DNNClassifier), "binary"),
        "DNNClassifier, batch_norm": (dense(library.DNNClassifier, batch_norm=True, **words), "level"),
        "DNNRegressor, RMSProp": (dense(library.DNNRegressor, optimizer="RMSProp"), "income"),
        "DNNLinearCombinedClassifier": (combined(library.DNNLinearCombinedClassifier), "binary"),
        "DNNLinearCombinedRegressor": (combined(library.DNNLinearCombinedRegressor), "income"),
        "BaselineClassifier": (baseline(library.BaselineClassifier, **words), "level"),
        "BaselineRegressor": (baseline(library.BaselineRegressor), "income"),
    }
