"""What a feature may add to the house: one record of optional, typed callables.

A hook enters this record only together with a feature that uses it.  Ours and other people's features
use the same record.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from listserv.model.group import Group
from listserv.store.db import Tx


@dataclass(frozen=True, slots=True)
class Addition:
    """Something that a feature puts below a post: data, never markup of the message around it.

    `html` is used in HTML parts, made from `text` when it is ""; `ad_id` names the ad for its counts.
    """

    text: str
    html: str = ""
    ad_id: int | None = None


@dataclass(frozen=True, slots=True)
class Feature:
    """amend  is asked once per edition, in the transaction that loads the post; its result is stored with it.
    printed  is told in the transaction that ends a fan-out, with the number of copies.
    """

    name: str
    amend: Callable[[Tx, Group, datetime], Addition | None] | None = None
    printed: Callable[[Tx, Addition, Group, int, datetime], None] | None = None
