import pytest

from torchestimator.checkpoint.tensorflow.names import KERAS_SLOT, NO_WEIGHTS, V1_SLOT, translate


@pytest.mark.parametrize(
    ("variable", "name", "is_transposed"),
    [
        ("dnn/hiddenlayer_0/kernel", "dnn/hiddenlayer_0.weight", True),
        ("dnn/hiddenlayer_12/bias", "dnn/hiddenlayer_12.bias", False),
        ("dnn/logits/kernel", "dnn/logits.weight", True),
        ("dnn/hiddenlayer_0/batchnorm_0/gamma", "dnn/hiddenlayer_0/batchnorm_0.weight", False),
        ("dnn/hiddenlayer_0/batchnorm_0/moving_variance", "dnn/hiddenlayer_0/batchnorm_0.running_var", False),
        (
            "rnn_model/rnn/stacked_rnn_cells/lstm_cell_1/kernel",
            "rnn_model/rnn/stacked_rnn_cells/lstm_cell_1.kernel",
            False,
        ),
        ("rnn_model/gru/gru_cell/recurrent_kernel", "rnn_model/gru/gru_cell.recurrent_kernel", False),
        ("rnn_model/logits/kernel", "rnn_model/logits.weight", True),
        ("linear/linear_model/bias_weights", "linear/linear_model.bias_weights", False),
        ("linear/linear_model/a_X_b/weights", "linear/linear_model.a_X_b.weights", False),
        ("linear/linear_model/v1.2/weights", "linear/linear_model.v1_2.weights", False),
        ("linear/linear_model/type/weights", "linear/linear_model.type_.weights", False),
        ("linear/linear_model/training/weights", "linear/linear_model.training_.weights", False),
        (
            "dnn/input_from_feature_columns/input_layer/c_embedding/embedding_weights",
            "dnn/input_from_feature_columns/input_layer.c_embedding.embedding_weights",
            False,
        ),
        (
            "sequence_features_1/t_embedding/embedding_weights",
            "sequence_features_1.t_embedding.embedding_weights",
            False,
        ),
        ("dense_features/k_embedding/embedding_weights", "dense_features.k_embedding.embedding_weights", False),
        ("baseline/bias", "baseline/bias", False),
        ("my/own/kernel", "my/own/kernel", False),
    ],
)
def test_names_of_weights(variable, name, is_transposed):
    assert translate(variable) == (name, is_transposed)


def test_names_of_slots():
    match = KERAS_SLOT.fullmatch("training_2/Adagrad/dnn/logits/bias/accumulator")
    assert (match["variable"], match["slot"]) == ("dnn/logits/bias", "accumulator")
    for name in ("a/weights/Ftrl_1", "a/weights/part_3/Ftrl_1", "a/weights/t_0/Ftrl_1"):
        match = V1_SLOT.fullmatch(name)
        assert (match["variable"], match["slot"]) == ("a/weights", "Ftrl_1")


def test_what_is_no_weight():
    assert NO_WEIGHTS.fullmatch("training/SGD/momentum")
    assert NO_WEIGHTS.fullmatch("dnn/head/beta1_power")
    assert NO_WEIGHTS.fullmatch("dnn/logits/bias/Momentum")
    assert not NO_WEIGHTS.fullmatch("training/SGD/dnn/logits/bias/momentum")
