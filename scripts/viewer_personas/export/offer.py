"""An HTTP server of the exporter: a few files, under unguessable URLs, for a while."""

import hmac
import re
import secrets
import socket
import threading
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self

from viewer_personas.errors import InputError

_PIECE_BYTES = 1 << 20


class Offer:
    """Files that anyone with their URL can read, by GET and HEAD, until `with` ends.

    `listen` is host:port; port 0 means any free port. `address` is how the reader reaches that,
    such as http://exporter.internal:8099; without it, the listening address. Everything except the
    added files is 404. Nothing is logged, because a URL is enough to read a file.

    Raises `InputError` if the server cannot listen, or its address is unknown.
    """

    def __init__(self, listen: str, address: str | None = None) -> None:
        self._listen = _host_and_port(listen)
        self.address = address.rstrip("/") if address else None
        self._token = secrets.token_urlsafe(32)
        self._files: dict[str, Path] = {}
        self._names = 0
        self.is_asked = False
        """Whether a file has been asked for."""

    def __enter__(self) -> Self:
        host, port = self._listen
        if not self.address and host in ("", "0.0.0.0", "::"):
            raise InputError(
                "export.druid.listen is every address of this machine: say as"
                " export.druid.address by which one Druid reaches it,"
                " like http://exporter.example.com:8099"
            )
        try:
            self._server = _Server((host, port), self)
        except OSError as error:
            raise InputError(
                f"export.druid.listen: cannot listen on {host}:{port}: {error.strerror or error}"
            ) from error
        if not self.address:
            shown = f"[{host}]" if ":" in host else host
            self.address = f"http://{shown}:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.daemon = True
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._files.clear()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def add(self, file: Path) -> str:
        """The URL at which the file can be read from now on; it keeps its endings, as in .json.gz.

        Its name is not in the URL.
        """
        self._names += 1
        name = str(self._names) + "".join(file.suffixes)
        self._files[name] = file
        return f"{self.address}/{self._token}/{name}"

    def remove(self, file: Path) -> None:
        """Stop offering a file; its readers are cut off."""
        self._files = {name: path for name, path in self._files.items() if path != file}

    def hide(self, text: str) -> str:
        """The text without the secrets that give access to the files."""
        return text.replace(self._token, "…")

    def find(self, path: str) -> Path | None:
        """The file of a path in a URL; None for every other path."""
        match path.split("/"):
            case ["", token, name]:
                # in the same time for every wrong token
                if hmac.compare_digest(token.encode(), self._token.encode()):
                    return self._files.get(name)
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True  # a reader that hangs does not block the exporter

    def __init__(self, listen: tuple[str, int], offer: Offer) -> None:
        self.offer = offer
        self.address_family = socket.AF_INET6 if ":" in listen[0] else socket.AF_INET
        super().__init__(listen, _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A reader that disconnects is normal, and a stack trace would contain the URL."""


class _Handler(BaseHTTPRequestHandler):
    # HTTP/1.0, one request a connection: none outlives the server
    server: _Server
    server_version = "personas"
    sys_version = ""
    timeout = 600  # a worker may pause; one that was cut off resumes with a range

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        offer = self.server.offer
        file = offer.find(self.path)
        if file is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        offer.is_asked = True
        size = file.stat().st_size
        start = self._start(size)
        if start >= size > 0:
            self.send_response(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
            self.send_header("Content-Range", f"bytes */{size}")
            self.end_headers()
            return
        is_part = "Range" in self.headers and size > 0
        self.send_response(HTTPStatus.PARTIAL_CONTENT if is_part else HTTPStatus.OK)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(size - start))
        self.send_header("Accept-Ranges", "bytes")
        if is_part:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.end_headers()
        if with_body:
            self._send(file, start)

    def _start(self, size: int) -> int:
        """Where to begin. Only `bytes=N-` is supported: a reader that resumes after a cut."""
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if asked is None:
            del self.headers["Range"]  # RFC 9110 allows ignoring any other
            return 0
        return int(asked.group(1))

    def _send(self, file: Path, start: int) -> None:
        with file.open("rb") as content, suppress(ConnectionError, TimeoutError):
            content.seek(start)
            while piece := content.read(_PIECE_BYTES):
                if self.server.offer.find(self.path) is None:
                    return
                self.wfile.write(piece)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


def _host_and_port(listen: str) -> tuple[str, int]:
    host, colon, port = listen.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise InputError(
            f"export.druid.listen: {listen} must be HOST:PORT, like 0.0.0.0:8099 (0: any free port)"
        )
    return host.strip("[]"), int(port)
