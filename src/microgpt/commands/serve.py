"""Serve the page and an HTTP interface on this machine."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from .. import checkpoint as checkpoints
from .. import exporting
from ..errors import MissingPartError
from ..face import Face
from ..model import MicroGPT
from ._models import documents_for_page

EXAMPLES = """\
  microgpt serve                               the page on http://127.0.0.1:8000
  microgpt serve names.safetensors --port 8080 --no-open
"""


def add_arguments(parser: ArgumentParser) -> None:
    """The arguments of `microgpt serve`."""
    add = parser.add_argument
    add(
        "model",
        nargs="?",
        metavar="MODEL",
        help="The model file. [default: none, the page trains a model in the browser]",
    )
    add("--host", default="127.0.0.1", help="The address to listen on. [default: %(default)s]")
    add(
        "--port",
        type=int,
        default=8000,
        metavar="N",
        help="The port to listen on; 0: any free port. [default: %(default)s]",
    )
    add("--no-open", action="store_true", help="Do not open a browser.")
    add(
        "--allow-remote",
        action="store_true",
        help="Allow a HOST that other machines can reach; requests then need a token.",
    )


def run(args: Namespace, face: Face) -> int:
    """Serve until a signal comes."""
    try:
        from ..page import assembly
        from ..serving import app, guard, server
    except ImportError as error:
        raise MissingPartError(
            f"serve needs a part that is not installed: {error.name}",
            fix="pip install 'microgpt-exact[serve]'",
        ) from error
    checkpoint = checkpoints.load(args.model) if args.model else None
    documents = documents_for_page(checkpoint, face) if checkpoint else []
    page = assembly.page_html(exporting.page_data(checkpoint, documents))
    model = MicroGPT.from_checkpoint(checkpoint) if checkpoint else None
    with server.listen(args.host, args.port, args.allow_remote) as listening:
        port = listening.getsockname()[1]
        token = None if guard.is_loopback(args.host) else guard.new_token()
        running = server.Server(app.create_app(model, page), port, token)
        host = f"[{args.host}]" if ":" in args.host else args.host
        address = f"http://{host}:{port}/"
        face.say(f"serving {address}  (stop with Ctrl-C)")
        if token is not None:
            face.say(f"token: {token}  (the page: {address}?token={token})")
        if not args.no_open and token is None:
            import webbrowser

            webbrowser.open(address)
        running.run(sockets=[listening])
    return 0
