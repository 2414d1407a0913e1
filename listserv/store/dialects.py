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
    Text,
    any_,
    bindparam,
    cast,
    func,
    select,
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
