"""Where a text stands: in which columns of which tables, and in which files."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sqlalchemy import select

from listserv.store.db import Database, Tx
from listserv.store.schema import metadata


def columns(db: Database, text: str, tables: Iterable[str] = ()) -> set[str]:
    """`table.column` of every column of these tables, or of all, in which the text stands, in any spelling."""
    chosen = set(tables) or set(metadata.tables)

    def search(tx: Tx) -> set[str]:
        return {
            f"{table.name}.{name}"
            for table in metadata.sorted_tables
            if table.name in chosen
            for row in tx.execute(select(table)).mappings()
            for name, value in row.items()
            if text.lower() in _shown(value)
        }

    return db.read_now(search)


def files(folder: Path, text: str) -> list[Path]:
    """The files below the folder in which the text stands."""
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and text.lower() in _shown(path.read_bytes())]


def _shown(value: Any) -> str:
    """Bytes as mail programs see them: without the soft line breaks of quoted-printable."""
    if isinstance(value, bytes | memoryview):
        return bytes(value).replace(b"=\r\n", b"").replace(b"=3D", b"=").decode("utf-8", "replace").lower()
    return value.lower() if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False).lower()
