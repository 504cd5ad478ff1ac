"""The MongoDB driver: contents and users from a collection.

A read has three steps. The documents come in one long cursor sorted by _id; a lost cursor resumes
after the last document. Then a sweep asks for all ids: deleted documents are removed, and missed
ones are fetched by their id. Last, one transaction applies what was read to the raw table.
Meanwhile documents and ids are in files, never in memory.
"""

import base64
import hashlib
import json
import math
import struct
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar, cast
from urllib.parse import unquote_plus
from uuid import UUID

import bson
from bson import Binary, DatetimeMS, Decimal128, ObjectId, Regex, Timestamp
from bson.binary import UuidRepresentation
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.dbref import DBRef
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from pymongo.client_session import ClientSession
from pymongo.collection import Collection
from pymongo.errors import (
    ConfigurationError,
    ConnectionFailure,
    InvalidOperation,
    InvalidURI,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
)
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

from viewer_personas.config import MongoDocuments
from viewer_personas.database import raw
from viewer_personas.database.connection import scratch_directory
from viewer_personas.database.sql import Connection, literal, scalar, typed_columns
from viewer_personas.errors import InputError, PersonasError, Unreachable
from viewer_personas.sources.document_fields import document_columns
from viewer_personas.sources.event_rows import near

Document = dict[str, Any]
Client = MongoClient[Document]
Result = TypeVar("Result")

# Part of the identity of a source: increase it when the same document gives a different row.
_READER_VERSION = 2
_LONGEST_WAIT_SECONDS = 60
_IDS_PER_BATCH = 10_000
_BYTES_SHOWN = 300
_SNAPSHOTS_SINCE_WIRE_VERSION = 13

# Meanings of the server's error codes.
_SNAPSHOT_GONE = {239, 246}  # SnapshotTooOld, SnapshotUnavailable
_NO_SNAPSHOTS = {20, 72, 115, 123}  # IllegalOperation, InvalidOptions, CommandNotSupported, …
_WRONG_PASSWORD = {11, 18, 8000}  # UserNotFound, AuthenticationFailed, the same of Atlas
_NO_RIGHT = {13}  # Unauthorized
_TRANSIENT = {
    *(6, 7, 89, 9001),  # host unreachable, host not found, network timeout, socket exception
    *(91, 189, 10107, 11600, 11602, 13435, 13436),  # shut down, stepped down, not primary
    *(43, 175, 237, 11601),  # cursor not found, query plan killed, cursor killed, interrupted
    *(50, 134, 133, 262),  # time exceeded, read concern not available yet, no suitable server
}

# Dates in BSON are always UTC, so a zone would add nothing; datetime ends with the year 9999.
_OPTIONS: CodecOptions[Document] = CodecOptions(
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
    uuid_representation=UuidRepresentation.STANDARD,
)
# Filters with an _id send the bytes that came from the server, readable or not.
_RAW_OPTIONS = CodecOptions(RawBSONDocument, unicode_decode_error_handler="replace")
_DAYS_OF_400_YEARS = 146_097


@dataclass(frozen=True)
class MongoCollection:
    """A collection with the contents or users of a service; `key` is contents or users."""

    settings: MongoDocuments
    sources_file: Path
    key: str

    def check(self) -> None:
        """Log in and check that the collection exists; raises like `inspect_documents`."""
        settings = self.settings
        with self._connected() as client:
            names = client[settings.database].list_collection_names(authorizedCollections=True)
            if settings.collection in names:
                return
            key, wanted, there = f"{self.key}.collection", settings.collection, names
            what = f"collection {wanted} in the database {settings.database}"
            if not names:
                key, wanted, there = f"{self.key}.database", settings.database, []
                what = f"database {wanted}, or nothing in it that may be read,"
                with suppress(PyMongoError):
                    there = [name for name in client.list_database_names() if name != wanted]
        raise InputError(
            f"{self.sources_file}: {key}: there is no {what} on {self._hosts()}"
            f"{near(wanted, sorted(there)) if there else ''}"
        )

    def load(self, connection: Connection, table: str) -> list[str]:
        """Bring `raw.contents` or `raw.users` up to date atomically; returns warnings.

        Raises `Unreachable` if the server does not answer, or not in full, even after
        `settings.attempts` in a row, and `InputError` if it refuses the user.
        """
        with self._connected() as client:
            if _offers_snapshots(client):
                try:
                    with client.start_session(snapshot=True) as session:
                        return _Read(self, client, session, connection, table).run()
                except (OperationFailure, ConfigurationError, InvalidOperation) as error:
                    code = getattr(error, "code", None)
                    if code is not None and code not in _SNAPSHOT_GONE | _NO_SNAPSHOTS:
                        raise
                found = _Read(self, client, None, connection, table).run()
                if code in _SNAPSHOT_GONE:
                    found.append(
                        f"{table}: the server does not keep snapshots as long as the read takes, "
                        "so documents that changed meanwhile may be of different moments"
                    )
                return found
            return _Read(self, client, None, connection, table).run()

    def name(self) -> str:
        """The name of the collection in raw.rejected_events."""
        return f"{self.settings.database}.{self.settings.collection}"

    def identity(self) -> str:
        """A hash of all settings that affect the rows. No secrets."""
        settings = self.settings
        parts = {
            "reader": _READER_VERSION,
            "hosts": sorted(self._hosts().split(",")),
            "database": settings.database,
            "collection": settings.collection,
            "mapping": {
                name: value
                for name, value in settings.version().items()
                if name in ("id", "updated_at", "keep", "nulls")
            },
        }
        return hashlib.md5(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    @contextmanager
    def _connected(self) -> Iterator[Client]:
        """A client; its errors become ours."""
        try:
            with self._client() as client:
                yield client
        except PyMongoError as error:
            raise self._explained(error) from error

    def _client(self) -> Client:
        settings = self.settings
        place = f"{self.sources_file}: {self.key}"
        self._hosts()
        milliseconds = max(1, round(settings.timeout_seconds * 1000))
        options: dict[str, Any] = {
            "appname": "viewer personas",
            "serverSelectionTimeoutMS": milliseconds,
            "connectTimeoutMS": milliseconds,
            "socketTimeoutMS": milliseconds,
        }
        if settings.user and settings.password:
            options["username"] = settings.user
            options["password"] = settings.password.get_secret_value()
        if settings.ca_file:
            ca_file = self.sources_file.absolute().parent / settings.ca_file
            if not ca_file.is_file():
                raise InputError(f"{place}.ca_file: there is no file {ca_file}")
            options |= {"tls": True, "tlsCAFile": str(ca_file)}
        try:
            with warnings.catch_warnings():
                # A misspelt option would otherwise be ignored silently.
                warnings.simplefilter("error", UserWarning)
                return MongoClient(settings.uri.get_secret_value(), **options)
        except InvalidURI:
            # Its text may quote part of a password as a port or a host.
            raise InputError(
                f"{place}.uri: is not a valid connection string. In user and password, "
                "characters such as : / ? # @ must be percent-encoded; or use the keys user and "
                "password."
            ) from None
        except (PyMongoError, OSError, TypeError, ValueError, UserWarning) as error:
            raise InputError(
                f"{place}: the settings make no connection: {self._shown(error)}"
            ) from None

    def _hosts(self) -> str:
        """The hosts of the uri: the part that a message may show."""
        _, _, rest = self.settings.uri.get_secret_value().partition("://")
        ends = [position for mark in "/?" if (position := rest.find(mark)) >= 0]
        authority = rest[: min(ends, default=len(rest))]
        if "@" in rest[len(authority) :]:
            raise InputError(
                f"{self.sources_file}: {self.key}.uri: has an @ behind the hosts: in user and "
                "password, / and ? must be percent-encoded; or use the keys user and password."
            )
        return authority.rpartition("@")[2]

    def _explained(self, error: PyMongoError) -> PersonasError:
        place = f"{self.sources_file}: {self.key}"
        code = getattr(error, "code", None)
        if code in _WRONG_PASSWORD:
            return InputError(
                f"{place}: {self._hosts()} refuses the user or the password. Check user, password "
                "and the authSource of the uri."
            )
        if code in _NO_RIGHT:
            hint = "Grant the user the role read on it." if self._has_user() else "Set user and "
            hint += "" if self._has_user() else "password."
            return InputError(
                f"{place}: {self._hosts()} does not allow reading {self.name()}. {hint}"
            )
        if isinstance(error, ServerSelectionTimeoutError):
            return Unreachable(
                f"{self.key}: no server answers at {self._hosts()} within "
                f"{self.settings.timeout_seconds:g} s: {self._shown(error)}. Check the uri and the "
                "network, then load again."
            )
        if isinstance(error, ConfigurationError):
            return InputError(f"{place}: the settings make no connection: {self._shown(error)}")
        return Unreachable(
            f"{self.key}: reading {self.name()} from {self._hosts()} failed: {self._shown(error)}. "
            "Nothing of it was loaded; load again."
        )

    def _has_user(self) -> bool:
        return bool(self.settings.user) or "@" in self.settings.uri.get_secret_value()

    def _shown(self, error: Exception) -> str:
        """The text of a foreign error in one short line, without secrets."""
        details = getattr(error, "details", None) or {}
        text = str(details.get("errmsg") or error)
        code = getattr(error, "code", None)
        # After these come pymongo's settings and its view of all servers.
        for mark in (" (configured timeouts", ", Timeout: ", ", full error: "):
            text = text.partition(mark)[0]
        for secret in self._secrets():
            text = text.replace(secret, "…")
        text = " ".join(text.split()).rstrip(".")
        text = text if len(text) <= _BYTES_SHOWN else text[:_BYTES_SHOWN] + " …"
        return f"{text} (error {code})" if code is not None else text

    def _secrets(self) -> list[str]:
        uri = self.settings.uri.get_secret_value()
        secrets = [uri]
        if self.settings.password:
            secrets.append(self.settings.password.get_secret_value())
        user_and_password, at, _ = uri.partition("://")[2].rpartition("@")
        if at:
            password = user_and_password.partition(":")[2]
            secrets += [user_and_password, password, unquote_plus(password)]
        return sorted({secret for secret in secrets if secret}, key=len, reverse=True)


def sample(settings: MongoDocuments, sources_file: Path, key: str, limit: int) -> list[str]:
    """Some documents as JSON, newest keys first; raises like `inspect_documents`."""
    collection = inspect_documents(settings, sources_file, key)
    with collection._connected() as client:
        documents = client[settings.database].get_collection(settings.collection, _RAW_OPTIONS)
        found = documents.find({}, sort=[("_id", -1)], limit=limit)
        raw: list[bytes] = [bytes(cast(RawBSONDocument, document).raw) for document in found]
    return [read.text for each in raw for read in readable_documents(each) if not read.problem]


def inspect_documents(settings: MongoDocuments, sources_file: Path, key: str) -> MongoCollection:
    """Check that the collection of `contents` or `users` can be read; changes nothing.

    Raises `InputError` naming the key if the collection does not exist or the server refuses the
    user, and `Unreachable` if no server answers.
    """
    collection = MongoCollection(settings, sources_file, key)
    collection.check()
    return collection


# --- one read ---------------------------------------------------------------------------------


class _Read:
    """One read of a collection, in a snapshot if there is a session, into a raw table."""

    def __init__(
        self,
        source: MongoCollection,
        client: Client,
        session: ClientSession | None,
        connection: Connection,
        table: str,
    ) -> None:
        self.source = source
        self.settings = source.settings
        self.session = session
        self.connection = connection
        self.table = table
        database = client.get_database(source.settings.database)
        self.collection: Collection[Document] = database.get_collection(source.settings.collection)
        self.started_at = _now()
        self.watermark: datetime | None = None
        self.not_numbers = 0
        self.documents_with_not_numbers = 0

    def run(self) -> list[str]:
        """Read, sweep, fetch what was missed, and store; returns warnings."""
        before = raw.last_document_read(self.connection, self.table)
        if before and before.source_identity != self.source.identity():
            before = None
        since = before.watermark if before and self.settings.updated_at else None
        self.watermark = since
        is_full = since is None
        stored = scalar(self.connection, f"select count(*) from raw.{self.table}")
        with scratch_directory(self.connection) as folder:
            self._read_documents(folder / "documents", self._changed_since(since))
            self._sweep(folder / "ids")
            self._find_missed(folder, is_full)
        read = raw.DocumentRead(self.source.identity(), self.started_at, self.watermark)
        repeated = raw.merge_documents(self.connection, self.table, read, is_full=is_full)
        return self._warnings(repeated, stored)

    def _warnings(self, repeated: int, stored: int) -> list[str]:
        found = []
        if repeated:
            found.append(
                f"{self.table}: {repeated} documents repeat the id of another and were left out"
            )
        if self.not_numbers:
            found.append(
                f"{self.table}: {self.not_numbers} values in {self.documents_with_not_numbers} "
                "documents are not a number or infinite, and were stored as null"
            )
        if stored and not scalar(self.connection, f"select count(*) from raw.{self.table}"):
            found.append(
                f"{self.table}: {self.source.name()} is empty: {stored} documents were removed"
            )
        return found

    # --- reading

    def _changed_since(self, since: datetime | None) -> Document:
        """What a read asks for: everything, or what changed or has no time of change."""
        if since is None:
            return {}
        field = str(self.settings.updated_at)
        start = since - timedelta(minutes=self.settings.overlap_minutes)
        return {"$or": [{field: {"$gte": start}}, {field: {"$not": {"$type": "date"}}}]}

    def _read_documents(self, path: Path, query: Document) -> None:
        """Write all results of the query to a file, and from there to `documents`."""
        with _Lines(path) as lines:
            for batch in self._batches(query):
                self._write(lines, batch)
        self._documents_from(lines, "create or replace temp table documents as")

    def _batches(self, query: Document) -> Iterator[bytes]:
        """The documents by _id, in batches of BSON; a lost cursor resumes after the last one.

        $gt compares only ids of the same type: with several types, a resumed cursor misses
        documents. The sweep finds them.
        """
        cursor: Iterator[bytes] | None = None
        last: bytes | None = None

        def following() -> bytes | None:
            nonlocal cursor
            try:
                cursor = cursor or self._find(_after(query, last))
                return next(cursor, None)
            except PyMongoError:
                cursor = None
                raise

        while (batch := self._persistently(following)) is not None:
            if batch:
                last = _source_key(_split(batch)[-1])
                yield batch

    def _find(self, query: Any, **options: Any) -> Iterator[bytes]:
        options = {"batch_size": self.settings.batch_size, "sort": [("_id", 1)]} | options
        cursor = self.collection.find_raw_batches(query, session=self.session, **options)
        return cast(Iterator[bytes], cursor)

    def _persistently(self, action: Callable[[], Result]) -> Result:
        """Retry transient errors, up to `settings.attempts` attempts in total."""
        retrying = Retrying(
            stop=stop_after_attempt(self.settings.attempts),
            wait=wait_exponential(self.settings.first_wait_seconds, _LONGEST_WAIT_SECONDS),
            retry=retry_if_exception(_is_transient),
            reraise=True,
        )
        return retrying(action)

    def _write(self, lines: "_Lines", batch: bytes) -> None:
        for document in readable_documents(batch):
            lines.write(document.source_key, document.problem or "", document.text)
            if document.not_numbers:
                self.not_numbers += document.not_numbers
                self.documents_with_not_numbers += 1
            if self.settings.updated_at and document.fields:
                self._see(_time_at(document.fields, self.settings.updated_at))

    def _see(self, changed_at: datetime | None) -> None:
        """Raise the watermark, but never into the future: later reads would miss changes."""
        if changed_at and changed_at <= self.started_at:
            self.watermark = max(self.watermark or changed_at, changed_at)

    # --- what was missed, and what is gone

    def _sweep(self, path: Path) -> None:
        """All existing ids, into `present_keys`. If interrupted, it starts over."""
        batch_size = max(self.settings.batch_size, _IDS_PER_BATCH)

        def sweep() -> None:
            with _Lines(path) as lines:
                for batch in self._find({}, projection={"_id": 1}, batch_size=batch_size):
                    for document in _split(batch):
                        lines.write(_source_key(document).hex())

        self._persistently(sweep)
        self.connection.execute(
            "create or replace temp table present_keys as "
            f"select column0 as source_key from {_table_of(path, ['column0'])}"
        )
        repeated = scalar(
            self.connection, "select count(*) - count(distinct source_key) from present_keys"
        )
        if repeated:
            raise InputError(
                f"{self.source.sources_file}: {self.table}.collection: {self.source.name()} gives "
                f"{repeated} documents with the _id of another, as only a view can: name the "
                "collection itself, or a view that keeps _id unique."
            )

    def _find_missed(self, folder: Path, is_full: bool) -> None:
        """Fetch by id what exists but was not read, and add what is deleted to `replaced_keys`.

        It also rereads rejected documents (they may have been fixed without a new time of change)
        and, if a document changes or is deleted, those with the same _id in the raw table: only one
        of them is kept there, and it may now be another.
        """
        self._execute(
            "delete from documents where source_key not in (select source_key from present_keys)",
            f"""
            create or replace temp table known_keys as
            select source_key, _id
            from raw.document_keys
            where document_table = '{self.table}' and {not is_full}
            """,
            """
            create or replace temp table replaced_keys as
            select source_key
            from known_keys
            where source_key not in (select source_key from present_keys)
            """,
        )
        wanted = """
            with read_keys as (
                select source_key from documents
                union all
                select source_key from replaced_keys
            ),
            touched_ids as (
                select _id from documents
                union
                select _id from known_keys semi join replaced_keys using (source_key)
                union
                select _id from known_keys semi join documents using (source_key)
            )
            select source_key
            from present_keys
            anti join read_keys using (source_key)
            left join known_keys using (source_key)
            where _id is null or _id in (select _id from touched_ids where _id is not null)
        """
        path = folder / "wanted"
        number = scalar(self.connection, f"copy ({wanted}) to {literal(path)} (header false)")
        while number:
            with _Lines(folder / "missed") as lines:
                for batch in self._fetched(path):
                    self._write(lines, batch)
            self.connection.execute(
                f"insert into replaced_keys select column0 from {_table_of(path, ['column0'])}"
            )
            self._documents_from(lines, "insert into documents")
            number = scalar(self.connection, f"copy ({wanted}) to {literal(path)} (header false)")
        self._execute("drop table present_keys", "drop table known_keys")

    def _fetched(self, path: Path) -> Iterator[bytes]:
        """The documents with keys in the file, in batches, without those deleted meanwhile."""
        with path.open() as lines:
            while keys := [line.strip() for line in islice(lines, self.settings.batch_size)]:
                query = _with_ids([bytes.fromhex(key) for key in keys])
                yield self._persistently(partial(self._all_of, query))

    def _all_of(self, query: RawBSONDocument) -> bytes:
        return b"".join(self._find(query))

    def _documents_from(self, lines: "_Lines", into: str) -> None:
        settings = self.settings
        mapped = document_columns(settings, settings.id, settings.updated_at or "updated_at", "doc")
        names = ["source_key", "problem", "doc"]
        self._execute(
            f"""
            {into}
            select source_key, file,
                case when problem is null then _id end as _id,
                updated_at, doc,
                coalesce(problem, reason) as reason
            from (
                select source_key, problem, {literal(self.source.name())} as file, {mapped}
                from {_table_of(lines.path, names, lines.longest)}
            )
            """
        )

    def _execute(self, *statements: str) -> None:
        for statement in statements:
            self.connection.execute(statement)


class _Lines:
    """A file of tab-separated texts: no text contains a tab or a line end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.longest = 0
        """Bytes of the longest line."""

    def __enter__(self) -> "_Lines":
        self.file: IO[bytes] = self.path.open("wb")
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def write(self, *texts: str) -> None:
        """Add a line."""
        line = "\t".join(texts).encode() + b"\n"
        self.longest = max(self.longest, len(line))
        self.file.write(line)


def _table_of(path: Path, columns: list[str], longest: int = 0) -> str:
    """The lines of a file as a table for DuckDB; an empty text is null."""
    types = typed_columns({name: "json" if name == "doc" else "varchar" for name in columns})
    # By default DuckDB keeps buffers of 32 MB and rejects lines of more than 2 MB.
    room = max(2_000_000, longest + 1)
    return (
        f"read_csv({literal(path)}, delim = '\t', quote = '', escape = '', header = false, "
        f"auto_detect = false, columns = {types}, max_line_size = {room}, "
        f"buffer_size = {2 * room})"
    )


# --- BSON as it comes from the server ----------------------------------------------------------


class ReadDocument(NamedTuple):
    """One document as it is stored.

    source_key: its _id as in BSON, in hexadecimal; text: the document as JSON; not_numbers: values
    that became null because they are NaN or infinite; fields: the document, None if it cannot be
    read; problem: why it cannot be read; in that case, text has what is known of it.
    """

    source_key: str
    text: str
    not_numbers: int = 0
    fields: Document | None = None
    problem: str | None = None


def readable_documents(batch: bytes) -> Iterator[ReadDocument]:
    """The documents of a batch of BSON, in order; an unreadable one does not affect the others."""
    documents = _split(batch)
    try:
        decoded: Sequence[Document | None] = bson.decode_all(batch, _OPTIONS)
    except Exception:  # a decoder error in one of them does not affect the others
        decoded = [None] * len(documents)
    for document, fields in zip(documents, decoded, strict=True):
        key = _source_key(document).hex()
        try:
            fields = fields if fields is not None else bson.decode(document, _OPTIONS)
            yield ReadDocument(key, *as_json(fields), fields)
        except Exception as error:
            yield _unreadable(document, key, error)


def _unreadable(document: bytes, key: str, error: Exception) -> ReadDocument:
    known: Document = {"bytes": len(document), "first_bytes": document[:_BYTES_SHOWN]}
    with suppress(Exception):
        known = bson.decode(_bson(_element(bytes.fromhex(key), b"_id")), _OPTIONS) | known
    problem = " ".join(str(error).split())[:_BYTES_SHOWN]
    return ReadDocument(key, as_json(known)[0], problem=f"unreadable document: {problem}")


def _split(batch: bytes) -> list[bytes]:
    documents = []
    position = 0
    while position < len(batch):
        (size,) = struct.unpack_from("<i", batch, position)
        documents.append(batch[position : position + size])
        position += size
    return documents


# The BSON types of fixed length.
_SIZES = {1: 8, 6: 0, 7: 12, 8: 1, 9: 8, 10: 0, 16: 4, 17: 8, 18: 8, 19: 16, 127: 0, 255: 0}


def _source_key(document: bytes) -> bytes:
    """The _id of a document as in BSON: its type and its bytes, undecoded."""
    if document[4:9] == b"\7_id\0":  # an ObjectId in front, as nearly always
        return b"\7" + document[9:21]
    position = 4
    while (kind := document[position]) != 0:
        name_end = document.index(0, position + 1)
        start = name_end + 1
        end = start + _size_of(kind, document, start)
        if document[position + 1 : name_end] == b"_id":
            return document[position : position + 1] + document[start:end]
        position = end
    raise ValueError("a document without _id")


def _size_of(kind: int, document: bytes, start: int) -> int:
    """The bytes of a value of a BSON type (https://bsonspec.org/spec.html)."""
    if kind in _SIZES:
        return _SIZES[kind]
    if kind == 11:  # a regular expression: two texts that end with a zero
        return document.index(0, document.index(0, start) + 1) + 1 - start
    (size,) = struct.unpack_from("<i", document, start)
    if kind in (2, 13, 14):  # texts: their length does not count itself
        return 4 + int(size)
    if kind == 5:  # binary: nor the byte of the subtype
        return 5 + int(size)
    if kind == 12:  # a pointer of old: a text and an ObjectId
        return 16 + int(size)
    return int(size)  # documents, lists, code with scope: it counts everything


def _element(key: bytes, name: bytes) -> bytes:
    return key[:1] + name + b"\0" + key[1:]


def _bson(*elements: bytes) -> bytes:
    content = b"".join(elements)
    return struct.pack("<i", len(content) + 5) + content + b"\0"


def _after(query: Document, last: bytes | None) -> Any:
    """The query for what comes after a key."""
    if last is None:
        return query
    later = RawBSONDocument(_bson(b"\3_id\0" + _bson(_element(last, b"$gt"))), _RAW_OPTIONS)
    return {"$and": [query, later]} if query else later


def _with_ids(keys: list[bytes]) -> RawBSONDocument:
    """The query for documents with these keys."""
    listed = _bson(*(_element(key, b"%d" % position) for position, key in enumerate(keys)))
    return RawBSONDocument(_bson(b"\3_id\0" + _bson(b"\4$in\0" + listed)), _RAW_OPTIONS)


# --- documents as JSON --------------------------------------------------------------------------


def as_json(document: Document) -> tuple[str, int]:
    """A document as JSON on one line, and how many of its values are NaN or infinite.

    ObjectId, UUID and Decimal128 become text, dates ISO 8601 in UTC, binary base64; NaN and
    infinite values become null; anything else becomes its text.
    """
    try:
        return _ENCODER.encode(document), 0
    except ValueError:  # the encoder's, or that of _decimal_text
        numbers, not_numbers = _with_nulls(document)
        return _ENCODER.encode(numbers), not_numbers


def _text_of(value: Any) -> Any:
    """A value of a type that JSON lacks."""
    write = _WRITERS.get(type(value))
    return write(value) if write else str(value)


def _datetime_text(value: datetime) -> str:
    return value.isoformat(timespec="milliseconds" if value.microsecond else "seconds") + "Z"


def _distant_datetime_text(value: DatetimeMS) -> str:
    """A time outside Python's range of dates. The calendar repeats after 400 years."""
    days, milliseconds = divmod(int(value), 86_400_000)
    cycles, day = divmod(days, _DAYS_OF_400_YEARS)
    near = datetime(1970, 1, 1) + timedelta(days=day, milliseconds=milliseconds)
    return f"{near.year + 400 * cycles:04d}{_datetime_text(near)[4:]}"


def _decimal_text(value: Decimal128) -> str:
    number = value.to_decimal()
    if not number.is_finite():
        raise ValueError("not a number")
    return str(number)


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


_WRITERS: dict[type, Callable[[Any], Any]] = {
    ObjectId: str,
    UUID: str,
    datetime: _datetime_text,
    DatetimeMS: _distant_datetime_text,
    Decimal128: _decimal_text,
    bytes: _base64,
    Binary: _base64,
    Timestamp: lambda value: _datetime_text(value.as_datetime().replace(tzinfo=None)),
    Regex: lambda value: value.pattern,
    DBRef: lambda value: value.as_doc(),
}


_ENCODER = json.JSONEncoder(
    ensure_ascii=False,
    check_circular=False,
    allow_nan=False,
    separators=(",", ":"),
    default=_text_of,
)


def _with_nulls(value: Any) -> tuple[Any, int]:
    """The same with null for NaN and infinite values, and their number."""
    if isinstance(value, dict):
        parts = {name: _with_nulls(part) for name, part in value.items()}
        return (
            {name: part for name, (part, _) in parts.items()},
            sum(number for _, number in parts.values()),
        )
    if isinstance(value, list):
        items = [_with_nulls(item) for item in value]
        return [item for item, _ in items], sum(number for _, number in items)
    is_odd = (
        not math.isfinite(value)
        if isinstance(value, float)
        else isinstance(value, Decimal128) and not value.to_decimal().is_finite()
    )
    return (None, 1) if is_odd else (value, 0)


def _time_at(fields: Document, path: str) -> datetime | None:
    """The date at a dotted path of a document, None if there is none in Python's range."""
    value: Any = fields
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, datetime) else None


# --- small things -------------------------------------------------------------------------------


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


def _is_transient(error: BaseException) -> bool:
    if isinstance(error, OperationFailure):
        return error.code in _TRANSIENT
    return isinstance(error, ConnectionFailure)


def _offers_snapshots(client: Client) -> bool:
    hello = client.admin.command("hello")
    is_set = "setName" in hello or hello.get("msg") == "isdbgrid"
    return is_set and hello["maxWireVersion"] >= _SNAPSHOTS_SINCE_WIRE_VERSION
