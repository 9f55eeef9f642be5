"""Exporter: what runs after each evaluation of train_and_evaluate."""

from abc import ABC, abstractmethod
from typing import Any


class Exporter(ABC):
    """Writes something out of a model that has just been evaluated (tf.estimator.Exporter)."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The name of its folder under `model_dir/export`."""

    def check(self, estimator: Any, checkpoint_path: str) -> None:  # noqa: B027
        """Called before the first step of training: raise here what `export` would raise after hours.

        Args:
            estimator: the te.Estimator.
            checkpoint_path: a checkpoint of the model as training finds it.
        """

    @abstractmethod
    def export(
        self,
        estimator: Any,
        export_path: str,
        checkpoint_path: str,
        eval_result: dict[str, Any],
        is_the_final_export: bool,
    ) -> str | None:
        """Called after each evaluation.

        Args:
            estimator: the te.Estimator.
            export_path: the folder `model_dir/export/<name>`.
            checkpoint_path: the evaluated checkpoint.
            eval_result: its metrics.
            is_the_final_export: whether training is complete (`max_steps` is reached).

        Returns:
            The path of what was written, or None.
        """
