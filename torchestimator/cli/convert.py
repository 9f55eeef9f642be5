"""`torchestimator convert`: a TensorFlow Estimator's checkpoint becomes one of this library."""

import argparse
from collections.abc import Iterator, Mapping

from torchestimator.checkpoint.tensorflow.conversion import (
    Origin,
    Translation,
    convert_checkpoint,
    translate_checkpoint,
)

_EXAMPLES = """\
examples:
  torchestimator convert old/model.ckpt-1000 new     writes new/model.ckpt-1000
  torchestimator convert old new                     the newest checkpoint of a model_dir
  torchestimator convert old/model.ckpt-1000 --list  what would become of its variables; writes nothing

The result is what Estimator(model_fn, warm_start_from="new") takes, and Estimator(model_fn, model_dir="new") evaluates,
predicts and exports from it.
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the subcommand to the command line."""
    parser = subparsers.add_parser(
        "convert",
        help="convert the checkpoint of a TensorFlow Estimator",
        description="Converts a checkpoint that TensorFlow wrote. TensorFlow need not be installed.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("checkpoint", metavar="TF_CKPT", help="a checkpoint's prefix, a model_dir or a SavedModel")
    parser.add_argument("out", metavar="OUT", nargs="?", help="the model_dir to write to")
    parser.add_argument("--list", action="store_true", help="show what becomes of each variable")


def run(args: argparse.Namespace) -> int:
    """Converts, or shows, what the arguments ask for.

    Raises:
        FileNotFoundError: there is no checkpoint.
        ValueError: it is damaged or has no weights, or there is nothing to do.
    """
    if args.out is None and not args.list:
        raise ValueError("OUT is missing: the model_dir to write to. To write nothing, add --list.")
    translation = translate_checkpoint(args.checkpoint)
    if args.list:
        for line in _listing(translation):
            print(line)
    if args.out is not None:
        path = convert_checkpoint(args.checkpoint, args.out)
        counts = f"{len(translation.model)} weights and {len(translation.optimizer)} optimizer slots"
        print(f"{path}: {counts} of step {translation.step}")
    return 0


def _listing(translation: Translation) -> Iterator[str]:
    yield f"{translation.checkpoint.prefix}, step {translation.step}"
    for title, origins in (("Weights", translation.model), ("Optimizer", translation.optimizer)):
        if origins:
            yield f"{title}:"
            yield from _rows(origins)
    if translation.ignored:
        yield f"Left out: {', '.join(translation.ignored)}"


def _rows(origins: Mapping[str, Origin]) -> Iterator[str]:
    width = max(map(len, origins))
    for name, origin in origins.items():
        note = ", transposed" if origin.is_transposed else ""
        yield f"  {name:<{width}}  {list(origin.shape)}  from {' + '.join(origin.variables)}{note}"
