"""The raw layer in DuckDB: its tables, and the replacement of slices that every driver shares."""

from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import astuple, dataclass, replace
from datetime import date, datetime

from viewer_personas.database.sql import Connection, scalar, transaction

Report = Callable[[str, int, int], None]
"""Receives what is being done, how much of it is done, and the total."""

_TABLES = """
create schema if not exists raw;
create table if not exists raw.events (
    event_id varchar,
    user_id varchar,
    content_id varchar,
    event_type varchar,
    occurred_at timestamp,
    watch_seconds double,
    event_count bigint,
    device varchar,
    -- false for a date without a time, which is that local date and has no hour
    has_time boolean default true,
    -- the text where the seconds should be, if it could not be read: unknown, not absent
    unreadable_seconds varchar,
    source_date date
);
create table if not exists raw.contents (_id varchar, updated_at timestamp, doc json);
create table if not exists raw.users (_id varchar, updated_at timestamp, doc json);
-- what the mapping makes of the documents
create table if not exists raw.content_fields (
    _id varchar,
    title varchar,
    content_type varchar,
    series_id varchar,
    season_number integer,
    episode_number integer,
    genres varchar[],
    tags varchar[],
    runtime_seconds double,
    released_on date,
    availability struct(territory varchar, available_from date, available_until date)[],
    unreadable_fields varchar,
    updated_at timestamp
);
create table if not exists raw.user_fields (
    _id varchar,
    timezone varchar,
    territory varchar,
    signed_up_on date,
    cancelled_on date,
    marketing_consent boolean,
    unreadable_fields varchar,
    updated_at timestamp
);
create table if not exists raw.slices (
    source_date date,
    source_identity varchar,
    version varchar,
    row_count bigint,
    rejected_count bigint,
    duplicate_count bigint,
    loaded_at timestamp,
    run_id varchar
);
alter table raw.events add column if not exists has_time boolean default true;
alter table raw.events add column if not exists unreadable_seconds varchar;
-- whether the source is still writing the day (open slice): it is loaded, but not complete
alter table raw.slices add column if not exists is_open boolean default false;
-- when `personas prune` dropped the events of the day (null: they are kept); a day without a
-- version is expired, and its row only says that it need not be read again
alter table raw.slices add column if not exists events_dropped_at timestamp;
create table if not exists raw.rejected_events (
    source varchar,
    source_date date,
    reason varchar,
    row json
);
-- Which days are in which version of a file, so that the files driver reads each file once.
create table if not exists raw.source_files (
    file varchar,
    size_bytes bigint,
    modified_at bigint,
    mapping_version varchar,
    source_date date,
    row_count bigint
);
-- For a source that can be asked for what changed: its last complete read, and the documents that
-- were there then, by the source's own key. Without an _id are those that were rejected.
create table if not exists raw.document_reads (
    document_table varchar,
    source_identity varchar,
    started_at timestamp,
    watermark timestamp
);
create table if not exists raw.document_keys (
    document_table varchar,
    source_key varchar,
    _id varchar
);
-- How full each mapped field was, and what could not be read, by load. `filled` counts the rows in
-- which something stands, `unreadable` those of them with something else than the field can hold.
create table if not exists raw.field_profiles (
    run_id varchar,
    loaded_at timestamp,
    source varchar,
    field varchar,
    path varchar,
    rows bigint,
    filled bigint,
    unreadable bigint,
    examples varchar[],
    reason varchar
);
-- What `personas export` published: every time that there was something new, and the last state.
create table if not exists raw.publications (
    exposure varchar,
    model varchar,
    as_of_date date,
    table_version varchar,
    input_version varchar,
    history_version varchar,
    activity_version varchar,
    rules_version varchar,
    row_count bigint,
    published_at timestamp,
    run_id varchar
);
create table if not exists raw.published_personas (
    as_of_date date,
    user_id varchar,
    persona varchar
);
"""

_EVENT_COLUMNS = (
    "event_id, user_id, content_id, event_type, occurred_at, watch_seconds, event_count, device, "
    "source_date, has_time, unreadable_seconds"
)
_IDENTITY = "source_date, event_id, user_id, coalesce(event_type, ''), occurred_at"
_EVENT_NAMES = ("user_id", "content_id", "event_type", "device")
# Lengths first, so that no two different rows give the same text: null has none, '' has 0.
_NAMES_AS_TEXT = ", '|', ".join([*(f"strlen({name})" for name in _EVENT_NAMES), *_EVENT_NAMES])


# The checksum of a slice: one number for the times and counts of each row, their sum for each
# combination of names, the md5 of that, and the sum of these. A sum does not depend on the order of
# the rows, and unlike xor it sees a row that came twice. md5 and not hash(): a version is compared
# with one that an older DuckDB may have written. An md5 of every row would cost four times as much
# as landing it, and the heartbeats of a play have their names in common. The number of a row
# spreads its parts over 64 bits by primes that let no product overflow, and multiplies the halves
# of the result, so that two rows that swap a part do not cancel out. Seconds count with six
# decimals, as in the metrics.
_CHECKSUMS = f"""
    select source_date,
        sum(row_count)::bigint as row_count,
        sum(md5_number_lower(concat({_NAMES_AS_TEXT}, '|', row_count, '|', numbers))) as checksum
    from (
        select source_date, {", ".join(_EVENT_NAMES)},
            count(*) as row_count,
            sum((spread & 4294967295) * (spread >> 32)) as numbers
        from (
            select *, xor((parts & 4294967295) * 2654435761, (parts >> 32) * 2246822519) as spread
            from (
                select *,
                    xor(
                        xor(
                            epoch_us(occurred_at)::ubigint,
                            coalesce(md5_number_lower(event_id), 0)
                        ),
                        xor(
                            case
                                when unreadable_seconds is not null then 1
                                when watch_seconds is null then 0
                                when watch_seconds between 0 and 1e9
                                    then (1 + round(watch_seconds * 1e6))::ubigint * 8191
                                else md5_number_lower(watch_seconds::varchar)
                            end,
                            event_count::ubigint * 8589934583
                                + case when has_time then 0 else 4611686018427387904 end
                        )
                    ) as parts
                from raw.events
                where {{in_days}}
            )
        )
        group by all
    )
    group by source_date
"""

# The range lets DuckDB skip the row groups of other days, which a list alone does not.
_IN_DAYS = "source_date between $first and $last and source_date in (select unnest($days))"


@dataclass(frozen=True)
class FieldProfile:
    """What a load found in a mapped field of a source (events, contents or users).

    `rows` read, `filled`: those in which something stands, `unreadable`: those of them with what
    the field cannot hold, up to three examples of it, and why it could not be read.
    """

    source: str
    field: str
    path: str
    rows: int
    filled: int
    unreadable: int
    examples: list[str]
    reason: str | None


@dataclass(frozen=True)
class SliceBatch:
    """Days that are replaced together, in one transaction.

    `identities` has the source identity of each day (see `raw.slices.source_identity`). `land`
    inserts the rows of exactly these days into `raw.events`, and the rows of these days that cannot
    be events into `raw.rejected_events`; it runs inside the transaction. `open_days` are those that
    the source is still writing.
    """

    identities: dict[date, str]
    land: Callable[[Connection], None]
    open_days: frozenset[date] = frozenset()


@dataclass(frozen=True)
class SliceChanges:
    """What one replacement did: slices read, those of them with a new version, and days kept."""

    slices: int
    changed: int
    kept: list[date]


def create_raw_tables(connection: Connection) -> None:
    """Create the raw tables that are not there yet, all of them empty."""
    with transaction(connection):
        connection.execute(_TABLES)


def stored_identities(connection: Connection) -> dict[date, str]:
    """The source identity of each slice in the database."""
    query = "select source_date, source_identity from raw.slices"
    return dict(connection.execute(query).fetchall())


def days_with_events(connection: Connection, days: Iterable[date]) -> set[date]:
    """The days with rows in their slice."""
    query = "select source_date from raw.slices where row_count > 0"
    return set(days) & {day for (day,) in connection.execute(query).fetchall()}


def dropped_days(connection: Connection) -> dict[date, bool]:
    """The days whose events `personas prune` dropped, and whether their roll-ups are kept."""
    query = """
        select source_date, version is not null from raw.slices where events_dropped_at is not null
    """
    return dict(connection.execute(query).fetchall())


def write_profiles(connection: Connection, run_id: str, profiles: Iterable["FieldProfile"]) -> None:
    """Record what a load found in the mapped fields."""
    for profile in profiles:
        connection.execute(
            """
            insert into raw.field_profiles
            values (?, now() at time zone 'UTC', ?, ?, ?, ?, ?, ?, ?, ?)
            """,
            [run_id, *astuple(profile)],
        )


def remove_slices(connection: Connection, days: Sequence[date]) -> None:
    """Delete whole days from the raw layer in one transaction: events, rejected rows and slices."""
    if days:
        with transaction(connection):
            _delete_days(connection, ["events", "rejected_events", "slices"], days)


def forget_files(connection: Connection, kept: Sequence[str]) -> None:
    """Delete what is known of all event files except those kept: their days and undated rows."""
    names = {"kept": list(kept)}
    connection.execute(
        "delete from raw.source_files where file not in (select unnest($kept::varchar[]))", names
    )
    connection.execute(
        """
        delete from raw.rejected_events
        where source_date is null
            and not starts_with(source, 'contents: ')
            and not starts_with(source, 'users: ')
            and source not in (select unnest($kept::varchar[]))
        """,
        names,
    )
    # of days that are too far ahead: the driver adds those that still are
    connection.execute(
        """
        delete from raw.rejected_events
        where source_date is not null and source_date not in (select source_date from raw.slices)
        """
    )


def replace_slices(
    connection: Connection,
    batch: SliceBatch,
    run_id: str,
    *,
    may_not_shrink: Set[date] = frozenset(),
) -> SliceChanges:
    """Replace the days of the batch by what it lands, in one transaction with `raw.slices`.

    Repeated event ids are removed and counted. If anything fails, the old slices stay. Days of
    `may_not_shrink` also stay if fewer rows landed than they had.
    """
    days = sorted(batch.identities)
    with transaction(connection):
        before = _versions(connection, days)
        _delete_days(connection, ["events", "rejected_events"], days)
        batch.land(connection)
        duplicates = _remove_duplicates(connection, days)
        kept = _shrunk(connection, sorted(may_not_shrink & batch.identities.keys()))
        if kept:
            _keep(connection, batch, kept)
            taken = {day: batch.identities[day] for day in days if day not in kept}
            batch = replace(batch, identities=taken)
        if batch.identities:
            _write_slices(connection, batch, duplicates, run_id)
        after = _versions(connection, days)
    changed = sum(after[day] != before.get(day) for day in days)
    return SliceChanges(slices=len(days), changed=changed, kept=kept)


def _shrunk(connection: Connection, days: list[date]) -> list[date]:
    """The days that now have fewer events than their slices record."""
    if not days:
        return []
    query = f"""
        select source_date
        from raw.slices
        left join (
            select source_date, count(*) as landed from raw.events where {_IN_DAYS} group by 1
        ) using (source_date)
        where {_IN_DAYS} and row_count > coalesce(landed, 0)
        order by source_date
    """
    return [day for (day,) in connection.execute(query, _days_parameters(days)).fetchall()]


def _keep(connection: Connection, batch: SliceBatch, days: list[date]) -> None:
    """Remove what landed for the days; in this state of the source they are not read again."""
    _delete_days(connection, ["events", "rejected_events"], days)
    for day in days:
        connection.execute(
            "update raw.slices set source_identity = ? where source_date = ?",
            [batch.identities[day], day],
        )


def _days_parameters(days: Sequence[date]) -> dict[str, object]:
    return {"first": min(days), "last": max(days), "days": list(days)}


def _delete_days(connection: Connection, tables: list[str], days: Sequence[date]) -> None:
    for table in tables:
        connection.execute(f"delete from raw.{table} where {_IN_DAYS}", _days_parameters(days))


def _versions(connection: Connection, days: Sequence[date]) -> dict[date, str]:
    query = f"select source_date, version from raw.slices where {_IN_DAYS}"
    return dict(connection.execute(query, _days_parameters(days)).fetchall())


def _remove_duplicates(connection: Connection, days: Sequence[date]) -> dict[date, int]:
    """Keep the smallest row by all columns of each copy, whatever arrived first.

    A copy has the id, the viewer, the type and the time of another: an id alone may be a number
    that starts anew for each viewer.
    """
    parameters = _days_parameters(days)
    connection.execute(
        f"""
        create or replace temp table repeats as
        select row({_IDENTITY}) as identity, source_date, count(*) - 1 as extra_rows
        from raw.events
        where {_IN_DAYS} and event_id is not null
        group by {_IDENTITY}
        having count(*) > 1
        """,
        parameters,
    )
    query = "select source_date, sum(extra_rows)::bigint from repeats group by source_date"
    duplicates = dict(connection.execute(query).fetchall())
    if duplicates:
        _keep_smallest(connection, parameters)
    connection.execute("drop table repeats")
    return duplicates


def _keep_smallest(connection: Connection, parameters: dict[str, object]) -> None:
    order = ", ".join(f"{column} asc nulls last" for column in _EVENT_COLUMNS.split(", "))
    is_repeated = f"{_IN_DAYS} and row({_IDENTITY}) in (select identity from repeats)"
    connection.execute(
        f"""
        create or replace temp table kept_events as
        select *
        from raw.events
        where {is_repeated}
        qualify row_number() over (partition by {_IDENTITY} order by {order}) = 1
        """,
        parameters,
    )
    connection.execute(f"delete from raw.events where {is_repeated}", parameters)
    connection.execute("insert into raw.events select * from kept_events")
    connection.execute("drop table kept_events")


def _write_slices(
    connection: Connection,
    batch: SliceBatch,
    duplicates: dict[date, int],
    run_id: str,
) -> None:
    days = sorted(batch.identities)
    _delete_days(connection, ["slices"], days)
    connection.execute(
        f"""
        insert into raw.slices
        with wanted as (
            select unnest($days) as source_date,
                unnest($identities) as source_identity,
                unnest($duplicates) as duplicate_count,
                unnest($open) as is_open
        ),
        loaded as ({_CHECKSUMS.format(in_days=_IN_DAYS)}),
        rejected as (
            select source_date, count(*) as rejected_count
            from raw.rejected_events
            where {_IN_DAYS}
            group by source_date
        )
        select source_date,
            source_identity,
            md5(coalesce(row_count, 0) || ' ' || coalesce(checksum, 0)),
            coalesce(row_count, 0),
            coalesce(rejected_count, 0),
            duplicate_count,
            now() at time zone 'UTC',
            $run_id,
            is_open,
            null
        from wanted
        left join loaded using (source_date)
        left join rejected using (source_date)
        """,
        {
            **_days_parameters(days),
            "identities": [batch.identities[day] for day in days],
            "duplicates": [duplicates.get(day, 0) for day in days],
            "open": [day in batch.open_days for day in days],
            "run_id": run_id,
        },
    )


@dataclass(frozen=True)
class DocumentRead:
    """A complete read of a document source that supports incremental reads.

    `source_identity` says what was read and how: a different one invalidates what is known of the
    source. `started_at` is when the read began, `watermark` the time of change up to which nothing
    is missing (None: unknown). Both are UTC, without a zone.
    """

    source_identity: str
    started_at: datetime
    watermark: datetime | None


def last_document_read(connection: Connection, table: str) -> DocumentRead | None:
    """The read that `raw.contents` or `raw.users` comes from; None if none was recorded."""
    row = connection.execute(
        """
        select source_identity, started_at, watermark
        from raw.document_reads
        where document_table = ?
        """,
        [table],
    ).fetchone()
    return DocumentRead(*row) if row else None


def replace_documents(connection: Connection, table: str, select: str | None) -> int:
    """Replace `raw.contents` or `raw.users`, in one transaction; returns the repeated documents.

    `select` gives file, _id (null: the document is rejected), updated_at, doc and reason; None
    empties the table. Of documents with the same _id, the one updated last stays; ties go to the
    largest by its text.
    """
    with transaction(connection):
        _forget_documents(connection, table)
        if select is None:
            return 0
        connection.execute(f"create or replace temp table documents as {select}")
        _insert_documents(connection, table)
        found = scalar(connection, "select count(*) from documents where _id is not null")
        connection.execute("drop table documents")
        return found - scalar(connection, f"select count(*) from raw.{table}")


def merge_documents(
    connection: Connection, table: str, read: DocumentRead, *, is_full: bool
) -> int:
    """Bring `raw.contents` or `raw.users` up to a read; returns the repeated documents.

    Expects two temporary tables, which it drops. `documents` has what was read: source_key, file,
    _id (null: the document is rejected, for `reason`), updated_at, doc and reason. `replaced_keys`
    (source_key) has the documents that were deleted or read again: what is known of them is
    dropped. It must name every rejected document, and of documents with the same _id all or none;
    then the same one stays as in `replace_documents`. A full read replaces everything. All of it,
    with the record of the read, is one transaction.
    """
    name = {"table": table}
    of_table = "document_table = $table"
    with transaction(connection):
        if is_full:
            _forget_documents(connection, table)
        connection.execute("insert into replaced_keys select source_key from documents")
        replaced = f"{of_table} and source_key in (select source_key from replaced_keys)"
        connection.execute(
            f"""
            delete from raw.{table}
            where _id in (
                select _id from raw.document_keys where {replaced} and _id is not null
                union all
                select _id from documents where _id is not null
            )
            """,
            name,
        )
        connection.execute(f"delete from raw.document_keys where {replaced}", name)
        connection.execute(
            "insert into raw.document_keys select $table, source_key, _id from documents", name
        )
        _delete_rejected_documents(connection, table)
        _insert_documents(connection, table)
        connection.execute(f"delete from raw.document_reads where {of_table}", name)
        connection.execute(
            "insert into raw.document_reads values (?, ?, ?, ?)",
            [table, read.source_identity, read.started_at, read.watermark],
        )
        connection.execute("drop table documents")
        connection.execute("drop table replaced_keys")
        found = scalar(
            connection,
            f"select count(*) from raw.document_keys where {of_table} and _id is not null",
            name,
        )
        return found - scalar(connection, f"select count(*) from raw.{table}")


def _forget_documents(connection: Connection, table: str) -> None:
    """Everything about the documents: rows without a recorded read must not look otherwise."""
    connection.execute(f"delete from raw.{table}")
    connection.execute("delete from raw.document_reads where document_table = ?", [table])
    connection.execute("delete from raw.document_keys where document_table = ?", [table])
    _delete_rejected_documents(connection, table)


def _delete_rejected_documents(connection: Connection, table: str) -> None:
    connection.execute(
        "delete from raw.rejected_events where source_date is null and starts_with(source, ?)",
        [f"{table}: "],
    )


def _insert_documents(connection: Connection, table: str) -> None:
    # Comparing all documents would cost as much as reading them; few are duplicates.
    connection.execute(
        """
        create or replace temp table repeated_ids as
        select _id from documents where _id is not null group by _id having count(*) > 1
        """
    )
    connection.execute(
        f"""
        insert into raw.{table}
        select _id, updated_at, doc
        from documents
        where _id is not null and _id not in (select _id from repeated_ids)
        union all
        select _id, updated_at, doc
        from documents
        semi join repeated_ids using (_id)
        qualify row_number() over (
            partition by _id order by updated_at desc nulls last, doc::varchar desc
        ) = 1
        """
    )
    connection.execute("drop table repeated_ids")
    connection.execute(
        """
        insert into raw.rejected_events
        select ? || file, null, reason, doc from documents where _id is null
        """,
        [f"{table}: "],
    )
