"""A site without a node around it, for acts that are tested by themselves; its chance is the same every time."""

from typing import Any

from listserv.flows.site import Site
from listserv.mail.tag import Tagger
from listserv.texts import Texts

DOMAIN = "lists.example"


def site(**changes: Any) -> Site:
    """`changes` are fields of the site."""
    ordinary: dict[str, Any] = {
        "name": "Example Groups",
        "hostname": DOMAIN,
        "url": "http://127.0.0.1:8080",
        "domains": frozenset({DOMAIN, "other.example"}),
        "operators": (),
        "max_message_bytes": 10_000_000,
        "node": "node",
        "texts": Texts(),
        "tags": Tagger((b"s" * 32,)),
        "chance": bytes,
    }
    return Site(**{**ordinary, **changes})
