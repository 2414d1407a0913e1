"""Consent on record: who asked, how, when and from where, which text was shown, which message said yes.

Every change of somebody's membership is a row that can neither be changed nor taken out without its being seen
(`store.consents`).  Nobody's password, token or text is in it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from listserv.flows.site import Act
from listserv.model.consent import Consent, Step
from listserv.model.group import Group
from listserv.store import consents
from listserv.store.consents import SALT_BYTES, Entry
from listserv.texts import one_line

LONGEST = 998  # characters of one fact

Facts = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Word:
    """Whose word it is that somebody has agreed: who runs the place, and what he had before him."""

    user: str = ""  # of the shell
    file: str = ""  # the list that was imported

    @property
    def facts(self) -> Facts:
        return {"word": "the operator's", "user": self.user, "file": self.file}


def record(act: Act, step: Step, group: Group | None, key: str, **facts: Any) -> None:
    """One row about this mailbox; where it came from is that of the act."""
    record_all(act, step, group, [key], **facts)


def record_all(act: Act, step: Step, group: Group | None, keys: Iterable[str], **facts: Any) -> None:
    """The same for many at once."""
    said = _facts(act, facts)
    address, way = group.address if group else "", act.who.way.value
    entries = [Entry(step, address, way, act.now, key, said, act.site.chance(SALT_BYTES)) for key in keys]
    consents.append(act.tx, entries)


def asked(act: Act) -> Facts:
    """Who asks by this act: kept with what he asks for, and on record when it is confirmed."""
    return _facts(act, {"at": act.now.isoformat(timespec="seconds"), "way": act.who.way.value})


def shown(act: Act, template: str, language: str) -> Facts:
    """Which text somebody was shown: its template, and the mark of its wording."""
    spoken, version = act.site.texts.version(template, language)
    return {"template": template, "language": spoken, "version": version}


def words(consent: Consent) -> str:
    """The facts of one row for a person: `by: ada@a.example; ip: 192.0.2.1`."""
    if consent.facts is None:
        return "details erased"
    return "; ".join(f"{name.replace('_', ' ')}: {_plain(value)}" for name, value in consent.facts.items() if value)


def _facts(act: Act, more: Facts) -> dict[str, Any]:
    """What has something to say."""
    source = {"by": act.who.account, "ip": act.who.ip, "envelope": act.envelope, "message_id": act.message_id}
    known = {name: _clean(value) for name, value in {**source, **more}.items()}
    return {name: value for name, value in known.items() if value not in ("", None, {})}


def _clean(value: Any) -> Any:
    """Nothing that a terminal or a database's text could choke on."""
    if isinstance(value, Mapping):
        return {name: _clean(one) for name, one in value.items()}
    return one_line(value)[:LONGEST] if isinstance(value, str) else value


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name.replace('_', ' ')} {one}" for name, one in value.items())
    return str(value)
