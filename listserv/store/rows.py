"""A few statements for every post, said to the driver past what SQLAlchemy does each time, which costs more than both.

    append(tx, statement, rows)            it runs once for each of them
    row = first(tx, question, values)      by the names of its columns, or None
    run(tx, statement, values)             it changes what is there, with values that are `native` already
    strike(tx, statement, values)          the same in a transaction of its own, which costs nothing on our side

The first two convert values both ways as SQLAlchemy does it, by the types of the columns.  What it would add by itself
is not for here: defaults made in Python, and lists that become several parameters.
"""

from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from sqlalchemy import Connection, Dialect, Executable, Select, UpdateBase
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import TypeEngine

T = TypeVar("T")

Convert = Callable[[Any], Any] | None


@dataclass(frozen=True, slots=True)
class _Said:
    """A statement as one database hears it, with the names of its values, in order, and how each is converted."""

    sql: str
    places: tuple[tuple[str, Convert], ...]
    constants: Mapping[str, Any]  # values that stand in the statement
    by_order: bool  # else by name

    def values(self, row: Mapping[str, Any]) -> Any:
        given = {**self.constants, **row} if self.constants else row
        if self.by_order:
            return tuple([given[name] if convert is None else convert(given[name]) for name, convert in self.places])
        return {name: given[name] if convert is None else convert(given[name]) for name, convert in self.places}


def append(tx: Connection, statement: Executable, rows: Sequence[Mapping[str, Any]]) -> None:
    """Give the same statement object each time, and rows that have the same names."""
    said = _said(statement, tx.dialect, tuple(rows[0]))
    values = [said.values(row) for row in rows]
    tx.exec_driver_sql(said.sql, values if len(values) > 1 else values[0])


def first(tx: Connection, statement: Select[*tuple[Any, ...]], values: Mapping[str, Any]) -> Any | None:
    """The first row; give the same statement object each time."""
    said = _said(statement, tx.dialect)
    row_of, converts = _row(statement, tx.dialect)
    found = _fetched(tx, said.sql, said.values(values))
    if found is None:
        return None
    return row_of(*[one if convert is None else convert(one) for one, convert in zip(found, converts, strict=True)])


def run(tx: Connection, statement: UpdateBase, values: Mapping[str, Any]) -> None:
    """Not converted: what is done for each value costs more than the database."""
    sql, names = _compiled(statement, tx.dialect)
    tx.exec_driver_sql(sql, tuple([values[name] for name in names]) if names else dict(values))


def strike(tx: Connection, statement: UpdateBase, values: Mapping[str, Any]) -> None:
    """On a connection that is in no transaction: there each statement is one by itself."""
    sql, names = _compiled(statement, tx.dialect)
    driver: Any = tx.connection.dbapi_connection
    if tx.dialect.name == "sqlite":
        driver.execute(sql, [values[name] for name in names])
        return
    driver.autocommit = True
    try:
        driver.execute(sql, values)
    finally:
        driver.autocommit = False


def native(dialect: Dialect, kind: TypeEngine[T], value: T) -> Any:
    """The value as this database's driver takes it."""
    convert = _bind(kind, dialect)
    return convert(value) if convert else value


def _fetched(tx: Connection, sql: str, values: Any) -> Sequence[Any] | None:
    """A fault is that of SQLAlchemy which it would have been."""
    driver: Any = tx.dialect.loaded_dbapi
    connection = tx.connection
    cursor = connection.cursor()
    try:
        cursor.execute(sql, values)
        row: Sequence[Any] | None = cursor.fetchone()
    except driver.Error as fault:
        if lost := tx.dialect.is_disconnect(fault, connection.dbapi_connection, cursor):
            tx.invalidate(fault)
        raise DBAPIError.instance(
            sql, None, fault, driver.Error, hide_parameters=True, connection_invalidated=lost, dialect=tx.dialect
        ) from fault
    finally:
        cursor.close()
    return row


@cache
def _compiled(statement: UpdateBase, dialect: Dialect) -> tuple[str, Sequence[str]]:
    """What the driver is told, and the order of the values, where it takes them by order."""
    compiled = statement.compile(dialect=dialect)
    return compiled.string, compiled.positiontup or ()


@cache
def _said(statement: Executable, dialect: Dialect, names: Sequence[str] | None = None) -> _Said:
    compiled: Any = statement.compile(dialect=dialect, column_keys=names)  # type: ignore[attr-defined]
    assert isinstance(compiled, SQLCompiler)
    assert not compiled.prefetch, "a default made in Python"
    assert not compiled.post_compile_params, "a list"
    constants = {name: bind.effective_value for name, bind in compiled.binds.items() if not bind.required}
    order = compiled.positiontup if compiled.positional else list(compiled.binds)
    places = tuple((name, _bind(compiled.binds[name].type, dialect)) for name in order or ())
    return _Said(compiled.string, places, constants, compiled.positional)


@cache
def _row(statement: Any, dialect: Dialect) -> tuple[Any, tuple[Convert, ...]]:
    """What a row becomes, and how each of its columns is converted."""
    columns = statement.exported_columns
    converts = tuple(column.type.dialect_impl(dialect).result_processor(dialect, None) for column in columns)
    return namedtuple("Row", columns.keys()), converts  # noqa: PYI024 - its fields are known now only


def _bind(kind: TypeEngine[Any], dialect: Dialect) -> Convert:
    return kind.dialect_impl(dialect).bind_processor(dialect)
