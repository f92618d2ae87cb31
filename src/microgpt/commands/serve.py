"""`microgpt serve`: the page and the HTTP interface, on this machine."""

from __future__ import annotations

import webbrowser
from argparse import Namespace

from .. import checkpoint as checkpoints
from .. import corpus, exporting
from ..errors import MicrogptError, MissingPartError
from ..model import MicroGPT
from . import Face


def serve(args: Namespace, face: Face) -> int:
    """Serve until a signal comes."""
    try:
        from ..page import assembly
        from ..serving import app, guard, server
    except ImportError as error:
        raise MissingPartError(
            f"serving needs a part that is not installed: {error.name}",
            fix="pip install 'microgpt-exact[serve]'",
        ) from error
    found = checkpoints.load(args.model) if args.model else None
    documents: list[str] = []
    if found is not None:
        try:
            documents = corpus.again(found.data.origin, found.data.fingerprint).documents
        except MicrogptError as error:
            face.say(f"the page has no list, so it marks nothing as known: {error.what}")
    page = assembly.page_html(exporting.page_data(found, documents))
    model = MicroGPT.load(args.model) if args.model else None
    with server.listen(args.host, args.port, args.allow_remote) as listening:
        port = listening.getsockname()[1]
        token = None if guard.is_loopback(args.host) else guard.new_token()
        running = server.Server(app.create_app(model, page), port, token)
        host = f"[{args.host}]" if ":" in args.host else args.host
        address = f"http://{host}:{port}/"
        face.say(f"serving {address}  (Ctrl-C ends)")
        if token is not None:
            face.say(f"token: {token}  (the page: {address}?token={token})")
        if not args.no_open and token is None:
            webbrowser.open(address)
        running.run(sockets=[listening])
    return 0
