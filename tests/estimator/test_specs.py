"""TrainSpec and EvalSpec: defaults and checks."""

import pytest

import torchestimator as te


def input_fn():
    raise AssertionError("specs do not open inputs")


class Named(te.Exporter):
    def __init__(self, name):
        self._name = name

    @property
    def name(self):
        return self._name

    def export(self, estimator, export_path, checkpoint_path, eval_result, is_the_final_export):
        return None


def test_defaults_are_those_of_tensorflow():
    assert te.TrainSpec(input_fn) == (input_fn, None, (), ())
    assert te.EvalSpec(input_fn) == (input_fn, 100, None, (), (), 120, 600)


def test_lists_become_tuples():
    hook, listener, exporter = te.StopAtStepHook(1), te.CheckpointSaverListener(), Named("a")
    spec = te.TrainSpec(input_fn, 3, [hook], [listener])
    assert (spec.max_steps, spec.hooks, spec.saving_listeners) == (3, (hook,), (listener,))
    assert te.EvalSpec(input_fn, hooks=iter([hook])).hooks == (hook,)
    for exporters in (exporter, [exporter], iter([exporter])):
        assert te.EvalSpec(input_fn, exporters=exporters).exporters == (exporter,)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"input_fn": 3}, TypeError, "`input_fn` must be a function"),
        ({"max_steps": 0}, ValueError, "`max_steps` must be above 0"),
        ({"max_steps": "9"}, TypeError, "`max_steps` must be a whole number"),
        ({"max_steps": True}, TypeError, "`max_steps` must be a whole number"),
        ({"max_steps": float("inf")}, TypeError, "`max_steps` must be a whole number"),
        ({"hooks": [1]}, TypeError, "`hooks` must hold SessionRunHook"),
        ({"saving_listeners": [1]}, TypeError, "`saving_listeners` must hold CheckpointSaverListener"),
    ],
)
def test_wrong_train_specs(arguments, error, message):
    with pytest.raises(error, match=message):
        te.TrainSpec(**{"input_fn": input_fn, **arguments})


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"input_fn": None}, TypeError, "`input_fn` must be a function"),
        ({"steps": -1}, ValueError, "`steps` must be above 0"),
        ({"steps": 2.5}, TypeError, "`steps` must be a whole number"),
        ({"name": 3}, TypeError, "`name` must be a string"),
        ({"hooks": [1]}, TypeError, "`hooks` must hold SessionRunHook"),
        ({"start_delay_secs": -1}, ValueError, "`start_delay_secs` must be at least 0"),
        ({"throttle_secs": -0.5}, ValueError, "`throttle_secs` must be at least 0"),
        ({"throttle_secs": float("nan")}, ValueError, "`throttle_secs` must be at least 0"),
        ({"throttle_secs": None}, TypeError, "`throttle_secs` must be a number of seconds"),
        ({"exporters": 3}, TypeError, "`exporters` must be an Exporter or several"),
        ({"exporters": ["a"]}, TypeError, "`exporters` must be an Exporter or several"),
        ({"exporters": Named("")}, ValueError, "needs a name"),
        ({"exporters": Named(None)}, ValueError, "needs a name"),
        ({"exporters": [Named("a"), Named("a")]}, ValueError, "different names"),
    ],
)
def test_wrong_eval_specs(arguments, error, message):
    with pytest.raises(error, match=message):
        te.EvalSpec(**{"input_fn": input_fn, **arguments})
