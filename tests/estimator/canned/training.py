"""What tests of ready-made estimators share: the data of the comparison with TensorFlow, and short trainings."""

import torchestimator as te
from tests.models import Losses, config
from tests.parity import problem
from torchestimator.checkpoint import Checkpoint

FEATURES, LABELS = problem.data()
LINEAR, DEEP = problem.columns(te.feature_column)
LEVELS = problem.LEVELS


def input_of(label, batch_size=32, num_epochs=None):
    """An input_fn of FEATURES and one of the LABELS, in their order."""
    return te.inputs.numpy_input_fn(FEATURES, LABELS[label], batch_size, num_epochs=num_epochs, shuffle=False)


def losses(estimator, input_fn, steps):
    """Trains; the loss of each step."""
    kept = Losses()
    estimator.train(input_fn, [kept], steps=steps)
    return kept.values


def first_loss(kind, folder, input_fn, **arguments):
    """The loss before anything is learnt, of an estimator with these arguments."""
    return losses(kind(**arguments, config=config(model_dir=str(folder))), input_fn, 1)[0]


def weights(estimator):
    """The newest checkpoint's weights by name."""
    checkpoint = Checkpoint(estimator.model_dir)
    return {name: checkpoint.read_model(name).numpy() for name in checkpoint.model_shapes}
