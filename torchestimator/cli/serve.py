"""`torchestimator serve`: a server for an export, for development and small services."""

import argparse

_EXAMPLES = """\
examples:
  torchestimator serve exports                          the newest version in a base folder, and newer ones as they come
  torchestimator serve exports/1700000000 --port 9000   one version
  torchestimator serve exports --max-batch-size 1       each request computed alone
"""
_MEBI = 2**20


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the subcommand to the command line."""
    parser = subparsers.add_parser(
        "serve",
        help="serve an export over HTTP",
        description="Serves the signatures of an export over HTTP, by the Open Inference Protocol v2 and by TensorFlow "
        "Serving's REST API, on ONNX Runtime. SIGTERM ends it after the open requests.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("dir", metavar="DIR", help="a base folder of exports, watched for new ones, or one export")
    add("--port", type=int, default=8000, help="port; 0: any that is free (default: %(default)s)")
    add("--host", default="127.0.0.1", help="address to listen at; 0.0.0.0: all (default: %(default)s)")
    add("--name", help="what clients call the model (default: the name of the base folder)")
    add("--max-batch-size", type=int, default=64, metavar="ROWS", help="rows computed together (default: %(default)s)")
    add(
        "--batch-timeout-micros",
        type=int,
        default=0,
        metavar="MICROS",
        help="how long a request waits for others; 0: only while others are computed (default: %(default)s)",
    )
    add("--threads", type=int, help="cores to compute with (default: all)")
    add("--poll-secs", type=float, default=1.0, metavar="SECS", help="between looks for new versions (default: 1)")
    add(
        "--max-body-bytes",
        type=int,
        default=64 * _MEBI,
        metavar="BYTES",
        help="largest body of a request (default: 64 MiB)",
    )
    add("--max-queue", type=int, default=1024, metavar="REQUESTS", help="that may wait (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Serves until a signal comes.

    Raises:
        ImportError: the packages of the extra `serve` are not installed.
        FileNotFoundError: there is no export.
        ValueError: an option has a bad value, or the export can't be loaded.
        OSError: the port is taken, for example.
    """
    try:
        from torchestimator.serving.server import serve
        from torchestimator.serving.server_options import ServerOptions
    except ImportError as error:
        raise ImportError(f"{error}. The server needs: pip install torchestimator[serve]") from error
    given = {"threads": args.threads} if args.threads is not None else {}
    serve(
        ServerOptions(
            directory=args.dir,
            name=args.name,
            host=args.host,
            port=args.port,
            max_batch_size=args.max_batch_size,
            batch_timeout_micros=args.batch_timeout_micros,
            poll_secs=args.poll_secs,
            max_body_bytes=args.max_body_bytes,
            max_queue=args.max_queue,
            **given,
        )
    )
    return 0
