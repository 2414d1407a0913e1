"""mlmmj behind a Postfix: that takes the post and pipes it into mlmmj-receive; mlmmj-send delivers to the sink.

Its own VERP: a transaction and a return path for each member.  It writes a command in several pieces and waits for
their acknowledgement, so the sink acknowledges at once; else each copy would take 40 ms.
"""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from tests.bench import postfix
from tests.bench.case import Case
from tests.bench.crowd import DOMAIN, GROUP, OWNER, WARM, Crowd
from tests.bench.program import Running

USER = "nobody"
FOLDERS = (
    *("incoming", "queue/discarded", "archive", "subconf", "unsubconf", "bounce", "control", "moderation"),
    *("subscribers.d", "digesters.d", "nomailsubs.d", "requeue"),
)
TEXTS = Path("/usr/share/mlmmj/text.skel/en")
FIELDS = """\
List-Id: <list.{domain}>
List-Post: <mailto:{group}>
List-Unsubscribe: <mailto:list+unsubscribe@{domain}>
Precedence: list
"""


@dataclass(frozen=True, slots=True)
class Mlmmj:
    @contextmanager
    def running(self, case: Case, folder: Path, sink: int) -> Iterator[Running]:
        transports, master = [], ""
        for group, people in ((GROUP, Crowd(case.members).members), (WARM, Crowd(1).members)):
            name = group.partition("@")[0]
            place = folder / "lists" / name
            _make(place, group, people, sink)
            transports.append(f"{{{group}={name}:}}")
            receive = f"/usr/bin/mlmmj-receive -F -L {place}"
            master += f"{name} unix - n n - 20 pipe\n flags=ORhu user={USER} argv={receive}\n"
        main = f"transport_maps = inline:{{ {', '.join(transports)} }}\nrecipient_delimiter = +\n"
        main += "".join(f"{each}_destination_recipient_limit = 1\n" for each in ("list", "warm"))
        with postfix.serving(folder, sink, main, master, []) as running:
            yield replace(running, slow_start=True)


def missing() -> str:
    """Why it cannot be measured here, or nothing."""
    return postfix.missing() if shutil.which("mlmmj-receive") and TEXTS.exists() else "mlmmj is not installed"


def _make(place: Path, group: str, people: Sequence[str], sink: int) -> None:
    """A list as mlmmj-make-ml and mlmmj-sub would leave it."""
    for name in FOLDERS:
        (place / name).mkdir(parents=True)
    shutil.copytree(TEXTS, place / "text")
    (place / "index").touch()
    control = {
        "listaddress": group,
        "owner": OWNER,
        "relayhost": "127.0.0.1",
        "smtpport": str(sink),
        "subonlypost": "",
        "customheaders": FIELDS.format(domain=DOMAIN, group=group).rstrip("\n"),
    }
    for name, value in control.items():
        (place / "control" / name).write_text(f"{value}\n")
    for letter, members in groupby(sorted(people), key=lambda member: member[0]):
        (place / "subscribers.d" / letter).write_text("".join(f"{member}\n" for member in members))
    for path in [place.parent, place, *place.rglob("*")]:
        shutil.chown(path, USER)
