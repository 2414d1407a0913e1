"""What SQLite and PostgreSQL are told in different words: parts of statements, and the parameters that fit them.

How they are opened: `engines`; how they ring: `bells`; what a large value costs: `large`.  Nothing else in this house
knows which of them it talks to.
"""

import json
from collections.abc import Callable, Collection, Mapping
from typing import Any

from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Dialect,
    Executable,
    Subquery,
    Table,
    Text,
    any_,
    bindparam,
    cast,
    func,
    select,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite


class Upsert:
    """INSERT … ON CONFLICT, which each dialect has a class of its own for: `made` gets its `insert`, for each once."""

    def __init__(self, made: Callable[[Any], Executable]) -> None:
        self._made = {"sqlite": made(sqlite.insert), "postgresql": made(postgresql.insert)}

    def __call__(self, tx: Connection) -> Executable:
        return self._made[tx.dialect.name]


def among(dialect: Dialect, column: Column[int], name: str) -> ColumnElement[bool]:
    """Whether the column's value is one of those of the parameter `name`, which `numbers` makes.

    Unlike IN it is the same statement for any number of them.
    """
    if dialect.name == "sqlite":
        return column.in_(select(func.json_each(bindparam(name, type_=Text)).table_valued("value").c.value))
    return column == any_(bindparam(name, type_=ARRAY(BigInteger)))


def numbers(dialect: Dialect, values: Collection[int]) -> Any:
    """The parameter of `among`."""
    return f"[{','.join(map(str, values))}]" if dialect.name == "sqlite" else list(values)


def entries(dialect: Dialect, name: str) -> Subquery:
    """The rows of the parameter `name`, which `mapped` makes: a `number` and the `words` that belong to it."""
    given = bindparam(name, type_=Text)
    each = func.json_each(given) if dialect.name == "sqlite" else func.json_each_text(cast(given, JSON))
    entry = each.table_valued("key", "value")
    return select(cast(entry.c.key, BigInteger).label("number"), entry.c.value.label("words")).subquery()


def mapped(values: Mapping[int, str]) -> str:
    """The parameter of `entries`."""
    return json.dumps(values)


# PostgreSQL's log is up to 32 numbers ahead of a sequence, and so is one that was recovered from it: draw more at once.
_DRAWN = {
    "sqlite": text("SELECT seq FROM sqlite_sequence WHERE name = :table"),
    "postgresql": text("SELECT pg_sequence_last_value(pg_get_serial_sequence(:table, 'id'))"),
}
_DRAW = {
    "sqlite": text("UPDATE sqlite_sequence SET seq = seq + 1 WHERE name = :table RETURNING seq"),
    "postgresql": text("SELECT max(nextval(pg_get_serial_sequence(:table, 'id'))) FROM generate_series(1, 33)"),
}
_DRAW_BEYOND = {
    "sqlite": text("UPDATE sqlite_sequence SET seq = :number WHERE name = :table"),
    "postgresql": text("SELECT setval(pg_get_serial_sequence(:table, 'id'), :number)"),
}


def drawn(tx: Connection, table: Table) -> int:
    """The last number that was given to a row of this table, or drawn; 0 when none was."""
    return tx.execute(_DRAWN[tx.dialect.name], {"table": table.name}).scalar_one_or_none() or 0


def draw(tx: Connection, table: Table) -> int:
    """A number greater than all that were, as if for a row of this table."""
    number = tx.execute(_DRAW[tx.dialect.name], {"table": table.name}).scalar_one_or_none()
    return int(number) if number is not None else _first(tx, table)


def _first(tx: Connection, table: Table) -> int:
    """SQLite keeps no number of a table that never had a row."""
    tx.execute(text("INSERT INTO sqlite_sequence (name, seq) VALUES (:table, 1)"), {"table": table.name})
    return 1


def draw_beyond(tx: Connection, table: Table, number: int) -> None:
    """From now on numbers are greater than this one too.  Several may ask at once."""
    if drawn(tx, table) >= number:
        return
    if tx.dialect.name == "postgresql":
        tx.execute(text(f"LOCK TABLE {table.name} IN SHARE ROW EXCLUSIVE MODE"))
    if drawn(tx, table) < number:
        tx.execute(_DRAW_BEYOND[tx.dialect.name], {"table": table.name, "number": number})
