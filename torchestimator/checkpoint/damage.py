"""The error that says which file of a checkpoint is damaged, and how."""


class CheckpointDamagedError(ValueError):
    """A file of a checkpoint is missing, cut, or holds other bytes than were written.

    `CheckpointStore.load_newest_valid` answers it by going on to the next older checkpoint; nothing else catches it.

    Args:
        path: The damaged file, or the `model_dir` when all its checkpoints are damaged.
        detail: What is wrong with it.
    """

    def __init__(self, path: str, detail: str) -> None:
        super().__init__(path, detail)
        self.path = path
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.path} is damaged: {self.detail}"
