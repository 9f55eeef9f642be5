"""Wide and deep over seven string and numeric columns, as the census tutorial of tf.estimator has them.

Neither library is imported here: `estimator` takes their modules.
"""

from typing import Any

import numpy as np

NUM_ROWS = 12_800
BATCH = 128


def data() -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Features [12800] by name and 0/1 labels."""
    random = np.random.default_rng(0)
    features = {
        "age": random.uniform(18, 80, NUM_ROWS).astype(np.float32),
        "hours": random.uniform(0, 80, NUM_ROWS).astype(np.float32),
        "education": random.choice(["HS", "BA", "MA", "PhD", "None"], NUM_ROWS),
        "occupation": random.choice([f"occupation {number}" for number in range(30)], NUM_ROWS),
        "relationship": random.choice(["Husband", "Wife", "Own-child", "Unmarried"], NUM_ROWS),
        "workclass": random.choice(["Private", "Government", "Self-employed"], NUM_ROWS),
        "country": random.choice([f"country {number}" for number in range(60)], NUM_ROWS),
    }
    return features, ((features["age"] > 40) & (features["education"] == "PhD")).astype(np.int64)


def estimator(library: Any, columns: Any, model_dir: str, config: Any) -> Any:
    """The classifier, its optimizers the defaults.

    Args:
        library: tf.estimator or torchestimator.
        columns: tf.feature_column or torchestimator.feature_column.
        model_dir: where it saves.
        config: its RunConfig.
    """
    age, hours = columns.numeric_column("age"), columns.numeric_column("hours")
    ages = columns.bucketized_column(age, [18, 25, 30, 35, 40, 45, 50, 55, 60, 65])
    listed = columns.categorical_column_with_vocabulary_list
    education = listed("education", ["HS", "BA", "MA", "PhD", "None"])
    relationship = listed("relationship", ["Husband", "Wife", "Own-child", "Unmarried"])
    workclass = listed("workclass", ["Private", "Government", "Self-employed"])
    occupation = columns.categorical_column_with_hash_bucket("occupation", 1000)
    country = columns.categorical_column_with_hash_bucket("country", 1000)
    crosses = [
        columns.crossed_column(["education", "occupation"], 10_000),
        columns.crossed_column([ages, "education", "occupation"], 10_000),
    ]
    deep = [age, hours, columns.indicator_column(workclass), columns.indicator_column(education)]
    deep += [columns.embedding_column(column, 8) for column in (occupation, country, relationship)]
    return library.DNNLinearCombinedClassifier(
        model_dir=model_dir,
        linear_feature_columns=[ages, education, occupation, relationship, workclass, country, *crosses],
        dnn_feature_columns=deep,
        dnn_hidden_units=[100, 50],
        config=config,
    )
