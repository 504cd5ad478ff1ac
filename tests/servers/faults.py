"""A proxy between a client and Druid that breaks chosen answers.

    with FaultProxy(druid.url) as proxy:
        proxy.arm(CutBody(after=1000, at="row end"), when=lambda request: b"events" in request.body)
        ...  # the client talks to proxy.url

Unless a fault is armed for a request, everything is passed on as it is. A fault that was armed and
never met its request, or that could not be done, fails the test at the end of the block.
"""

import http.client
import json
import socket
import ssl
import struct
import subprocess
import sys
import threading
import urllib.parse
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

PIECE = 1 << 16
# Where the body of a message ends is for each connection to say.
HOP_HEADERS = {"connection", "content-length", "keep-alive", "transfer-encoding"}
# What Druid says with a status: its error, its class, a message.
ERRORS = {
    429: (
        "Query capacity exceeded",
        "org.apache.druid.query.QueryCapacityExceededException",
        "Too many concurrent queries, total query capacity of 8 exceeded."
        " Please try your query again later.",
    ),
    503: (
        "Service unavailable",
        "org.apache.druid.java.util.common.ISE",
        "No default server found!",
    ),
    504: (
        "Query timeout",
        "org.apache.druid.query.QueryTimeoutException",
        "Query did not complete within configured timeout period."
        " You can increase query timeout or tune the performance of query.",
    ),
}
UNKNOWN_ERROR = ("Unknown exception", "java.lang.RuntimeException", "A fault of the proxy")


@dataclass(frozen=True)
class CutBody:
    """End the body early although HTTP and gzip look whole, as Druid does after an error.

    `after` counts bytes of the text. At a "row end" the body ends with the last newline up to
    there, and "inside row" in the middle of the row that is there.
    """

    after: int
    at: Literal["byte", "row end", "inside row"] = "byte"


@dataclass(frozen=True)
class CutConnection:
    """Close the connection after so many bytes of the body as they are sent, or before any answer.

    With `reset`, the client's system is told that the connection is broken (RST).
    """

    after: int | None = None
    reset: bool = False


@dataclass(frozen=True)
class Answer:
    """Answer with an error of Druid instead of asking it."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self) -> bytes:
        """The error as Druid writes it."""
        error, kind, message = ERRORS.get(self.status, UNKNOWN_ERROR)
        told = {"error": error, "errorMessage": message, "errorClass": kind, "host": None}
        return json.dumps(told).encode()


@dataclass(frozen=True)
class Call:
    """Call a function, and go on with the answer when it returns.

    It is called after so many bytes of the body as they are sent, or before any answer. `restart`
    of a server breaks a load in its middle; `wait` of an Event that the test sets in the end is a
    server that does not answer in time.
    """

    function: Callable[[], object]
    after: int | None = None


Fault = CutBody | CutConnection | Answer | Call


@dataclass(frozen=True)
class Request:
    """A request that the proxy saw; of Authorization, `headers` has only the scheme."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, which is JSON."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Certificate:
    """A certificate that is its own authority, for 127.0.0.1 and localhost, and its key."""

    file: Path
    key: Path


def self_signed(directory: Path) -> Certificate:
    """Make a certificate in the directory."""
    certificate = Certificate(directory / "certificate.pem", directory / "key.pem")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    command += " -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1,DNS:localhost"
    command += " -addext keyUsage=critical,digitalSignature,keyCertSign"
    files = ["-keyout", str(certificate.key), "-out", str(certificate.file)]
    subprocess.run([*command.split(), *files], check=True, capture_output=True)
    return certificate


@dataclass
class Armed:
    """A fault with what it waits for."""

    fault: Fault
    when: Callable[[Request], bool]
    skip: int
    times: int
    fired: int = 0


class FaultProxy:
    """The proxy; `url` is its address, `requests` what it has seen, in the order of arrival."""

    def __init__(self, target: str, *, certificate: Certificate | None = None) -> None:
        self.target = urllib.parse.urlsplit(target)
        self.requests: list[Request] = []
        self.errors: list[BaseException] = []
        self._armed: list[Armed] = []
        self._lock = threading.Lock()
        self._server = ProxyServer(self)
        scheme = "http"
        if certificate is not None:
            scheme = "https"
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate.file, certificate.key)
            # the handshake belongs to the thread of the connection, not to the one that accepts
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.url = f"{scheme}://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def arm(
        self,
        fault: Fault,
        *,
        when: Callable[[Request], bool] = lambda request: True,
        skip: int = 0,
        times: int = 1,
    ) -> None:
        """Break the next `times` requests that fulfil `when`, after letting `skip` of them pass.

        Of several faults for a request, the one that was armed first is done.
        """
        with self._lock:
            self._armed.append(Armed(fault, when, skip, times))

    def disarm(self) -> None:
        """Pass everything on from now on."""
        with self._lock:
            self._armed.clear()

    def meet(self, request: Request) -> Fault | None:
        """Note a request; the fault that it meets."""
        with self._lock:
            self.requests.append(request)
            for armed in self._armed:
                if armed.fired == armed.times or not armed.when(request):
                    continue
                if armed.skip:
                    armed.skip -= 1
                    continue
                armed.fired += 1
                return armed.fault
        return None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        if error is None:
            assert not self.errors, f"The proxy failed: {self.errors}"
            never = [armed.fault for armed in self._armed if not armed.fired]
            assert not never, f"No request met {never}"


class ProxyServer(ThreadingHTTPServer):
    """Listens on a free port of the loopback interface; a thread for each connection."""

    daemon_threads = True
    block_on_close = False  # a client may keep its connection open for longer than the proxy lives
    request_queue_size = 64

    def __init__(self, proxy: FaultProxy) -> None:
        self.proxy = proxy
        super().__init__(("127.0.0.1", 0), Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep what went wrong in the proxy itself; that a client hangs up is none of it."""
        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, OSError):
            self.proxy.errors.append(error)


class Handler(BaseHTTPRequestHandler):
    """Passes the requests of one connection on."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: ProxyServer

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: `requests` has it."""

    def pass_on(self) -> None:
        """Pass one request on and its answer back, unless a fault says otherwise."""
        assert "Transfer-Encoding" not in self.headers, "a body in chunks cannot be read here"
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        shown = dict(self.headers.items())
        if "Authorization" in shown:
            shown["Authorization"] = shown["Authorization"].split(" ")[0]
        fault = self.server.proxy.meet(Request(self.command, self.path, shown, body))
        match fault:
            case Answer(status, headers):
                return self.send_whole(status, headers, fault.body())
            case CutConnection(None, reset):
                return self.hang_up(reset=reset)
            case Call(function, None):
                function()
            case _:
                pass
        target = self.server.proxy.target
        connection = http.client.HTTPConnection(str(target.hostname), target.port)
        try:
            headers = {n: v for n, v in self.headers.items() if n.lower() not in HOP_HEADERS}
            connection.request(self.command, self.path, body or None, headers)
            self.pass_back(connection.getresponse(), fault)
        except (http.client.HTTPException, ConnectionError):
            self.hang_up(reset=False)  # what a client without a proxy would see of it
        finally:
            connection.close()
        return None

    do_GET = do_POST = do_DELETE = pass_on

    def pass_back(self, answer: http.client.HTTPResponse, fault: Fault | None) -> None:
        """Send the answer, broken by the fault."""
        if isinstance(fault, CutBody):
            text, too_short = cut(answer, fault)
            if too_short:
                error = f"{fault} found only {len(text)} bytes: {text[-200:]!r}"
                self.server.proxy.errors.append(ValueError(error))
            pieces = iter([gzipped(text) if is_gzipped(answer) else text])
        else:
            pieces = pieces_of(answer)
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in HOP_HEADERS:
                self.send_header(name, value)
        has_body = answer.status not in (204, 304)
        if has_body:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        sent = 0
        due = fault.after if isinstance(fault, CutConnection | Call) else None
        for piece in pieces:
            if due is not None and sent + len(piece) >= due:
                self.send_chunk(piece[: due - sent])
                if isinstance(fault, CutConnection):
                    return self.hang_up(reset=fault.reset)
                assert isinstance(fault, Call)
                fault.function()
                piece = piece[due - sent :]
                due = None
            self.send_chunk(piece)
            sent += len(piece)
        if due is not None:
            self.server.proxy.errors.append(ValueError(f"{fault} found only {sent} bytes"))
        if has_body:
            self.wfile.write(b"0\r\n\r\n")
        return None

    def send_chunk(self, piece: bytes) -> None:
        """Send a part of the body. An empty one would be its end."""
        if piece:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))

    def send_whole(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Send an answer of our own."""
        self.send_response_only(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def hang_up(self, *, reset: bool) -> None:
        """Close the connection as it is."""
        self.close_connection = True
        if reset:  # closing with a linger of no time sends RST
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            # file objects of the connection would keep it open
            self.rfile.close()
            self.connection.close()


def is_gzipped(answer: http.client.HTTPResponse) -> bool:
    """Whether the body has to be decompressed to be read."""
    return answer.getheader("Content-Encoding") == "gzip"


def gzipped(text: bytes) -> bytes:
    """A whole gzip stream."""
    packer = zlib.compressobj(wbits=31)
    return packer.compress(text) + packer.flush()


def pieces_of(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    """The body as it arrives; IncompleteRead where the server breaks off."""
    while piece := answer.read1(PIECE):
        yield piece
    if answer.length:
        raise http.client.IncompleteRead(b"", answer.length)


def cut(answer: http.client.HTTPResponse, fault: CutBody) -> tuple[bytes, bool]:
    """The text of the body up to where the fault cuts it, and whether it was too short for that."""
    unpack = zlib.decompressobj(wbits=31).decompress if is_gzipped(answer) else bytes
    text = b""
    for piece in pieces_of(answer):
        text += unpack(piece)
        if len(text) > fault.after and b"\n" in text[fault.after :]:
            break
    if fault.at == "row end":
        end = text.rfind(b"\n", 0, fault.after) + 1
    elif fault.at == "inside row":
        start = text.rfind(b"\n", 0, fault.after) + 1
        end = (start + text.find(b"\n", fault.after)) // 2
    else:
        end = fault.after
    too_short = fault.after >= len(text.rstrip(b"\n")) or (fault.at != "byte" and end == 0)
    return text[:end], too_short
