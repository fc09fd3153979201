"""Try an experiment's classifiers in a browser, on this machine only:

    python -m headtohead.experiments.playground results/NAME

It prints an address with a token in it; without the token the page is not found, and from another machine nothing
answers. Ctrl-C ends it. Needs the extra ``serve``: ``pip install -e '.[serve]'``.
"""

import argparse
import secrets
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from headtohead.core.errors import InputError, command

HOST = "127.0.0.1"  # the loopback address: nothing outside this machine reaches it
LARGEST_PORT = 65_535


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m headtohead.experiments.playground",
        description="Try an experiment's classifiers in a browser, on this machine only.",
    )
    parser.add_argument(
        "results", type=Path, metavar="RESULTS_DIR", help="an experiment's folder, results/NAME"
    )
    parser.add_argument("--port", type=int, default=0, help="(default: one that is free)")
    parser.add_argument(
        "--weights-dir", type=Path, help="where the base model's checkpoint is, if it has moved"
    )
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda, cuda:N or mps (default: cpu)")
    options = parser.parse_args(arguments)
    try:
        return _serve(options)
    except KeyboardInterrupt:
        return 130


def _serve(options: argparse.Namespace) -> int:
    from headtohead.experiments.playground.classifiers import Classifiers, experiment_folder

    try:
        import uvicorn

        from headtohead.experiments.playground.server import make_app
    except ModuleNotFoundError as error:
        raise InputError(
            f"the playground needs {error.name}, which is not installed; run `pip install 'headtohead[serve]'`, "
            "or in a checkout `pip install -e '.[serve]'`"
        ) from error
    folder = experiment_folder(options.results)
    classifiers = Classifiers.of(folder, options.weights_dir, options.device)
    listening = _socket(options.port)
    token = secrets.token_urlsafe(24)
    port = listening.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(make_app(classifiers, token), log_level="warning"))
    print(f"{folder.name}: {len(classifiers.runs)} classifiers at http://{HOST}:{port}/{token}/", flush=True)
    print("It answers on this machine only; Ctrl-C ends it.", flush=True)
    server.run(sockets=[listening])
    return 0


def _socket(port: int) -> socket.socket:
    """A socket that listens on the loopback address alone.

    Raises:
        InputError: the port is no number of a port, or is taken.
    """
    if not 0 <= port <= LARGEST_PORT:
        raise InputError(f"--port {port}: must be from 0 (one that is free) to {LARGEST_PORT}")
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
    except OSError as error:
        listening.close()
        raise InputError(
            f"--port {port}: {error.strerror or error}; choose another, or leave it out"
        ) from error
    return listening


if __name__ == "__main__":
    sys.exit(main())
