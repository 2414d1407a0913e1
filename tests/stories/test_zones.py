"""The machine keeps local time: days, dates and terms are those of UTC, also in the hour that comes twice (T38)."""

import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from tests.kit.house import Clock, House, house, mail, read
from tests.kit.patience import PATIENCE
from tests.kit.process import process
from tests.kit.world import World

ADA, BOB, ANN = "ada@a.example", "bob@b.example", "ann@o.example"
WALKERS, SAILING = "walkers@lists.example", "sailing@lists.example"
NEAR = timedelta(seconds=PATIENCE)

# Around the hour that never comes; an evening whose day is another one in UTC, and around the hour that comes twice.
NEW_YORK = (("2026-03-08T06:30", "2026-03-08T07:30"), ("2026-11-01T02:30", "2026-11-01T05:30", "2026-11-01T06:30"))
BERLIN = (("2026-03-29T00:30", "2026-03-29T01:30"), ("2026-10-24T22:30", "2026-10-25T00:30", "2026-10-25T01:30"))

Zone = Callable[[str, str], None]


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Zone]:
    """Sets this process's local time, by the rules of POSIX, and what it asks of PostgreSQL, by name."""

    def put(rules: str, name: str) -> None:
        monkeypatch.setenv("TZ", rules)
        monkeypatch.setenv("PGTZ", name)
        time.tzset()

    yield put
    monkeypatch.undo()
    time.tzset()


def at(moment: str) -> datetime:
    return datetime.fromisoformat(moment).replace(tzinfo=UTC)


async def go_to(here: House, moment: datetime) -> None:
    here.clock.ahead = moment - datetime.now(UTC)
    here.ring()
    await here.idle()


def dates(content: bytes) -> list[datetime]:
    """Of its Date, and of our Received."""
    said = read(content)
    return [parsedate_to_datetime(str(field).rpartition(";")[2]) for field in (said["Date"], said["Received"]) if field]


@pytest.mark.parametrize(
    ("rules", "name", "seasons"),
    [
        ("EST5EDT,M3.2.0,M11.1.0", "America/New_York", NEW_YORK),
        ("CET-1CEST,M3.5.0,M10.5.0/3", "Europe/Berlin", BERLIN),
    ],
    ids=["New_York", "Berlin"],
)
async def test_local_time_changes_nothing(
    url: str, folder: Path, zone: Zone, rules: str, name: str, seasons: tuple[tuple[str, ...], ...]
) -> None:
    zone(rules, name)
    async with house(url, folder, clock=Clock(at(seasons[0][0]) - datetime.now(UTC))) as here:
        here.group(WALKERS, [ADA])
        here.group(SAILING, [BOB], owner=ANN, moderated=True)
        for season in seasons:
            assert len({at(moment).astimezone().utcoffset() for moment in season}) == 2  # else this tries nothing
            for moment in season:
                await go_to(here, at(moment))
                await posts_at(here, folder, moment)

            # and what waits for an admin waits for fourteen days, of which one has 23 hours or 25
            first, ends = f"at {season[0]}", at(season[0]) + timedelta(days=14)
            await go_to(here, ends - timedelta(minutes=10))
            [held] = [held for held in here.held() if held.subject == first]
            assert held.expires_at - held.since == timedelta(days=14)
            assert timedelta() <= held.expires_at - ends <= NEAR
            await go_to(here, ends + timedelta(minutes=70))  # a job of every hour
            assert first not in [held.subject for held in here.held()]


async def posts_at(here: House, folder: Path, moment: str) -> None:
    # when somebody posts, without a date of his own, to a group and to one that holds it
    id = f"<{moment.replace(':', '.')}@a.example>"
    letter = mail(ADA, WALKERS, f"text at {moment}", Date="", **{"Message-ID": id})
    assert (await here.send(ADA, WALKERS, letter)).startswith("250")
    assert (await here.post(BOB, SAILING, f"text at {moment}", f"at {moment}")).startswith("250")
    await here.quiet()

    # then all dates are those of the moment, and so is the day of its line in the access log
    told = [*dates(here.notice(ADA)), *dates(here.notice(ANN))]
    assert len(told) >= 3
    assert all(-timedelta(seconds=1) <= date - at(moment) <= NEAR for date in told), told
    [line] = [line for line in here.log() if line["message_id"] == id and line["action"] == "post.accepted"]
    assert timedelta() <= datetime.fromisoformat(str(line["time"])) - at(moment) <= NEAR
    [file] = [path for path in (folder / "log").glob("access-*.log") if id in path.read_text()]
    assert file.name == f"access-{moment[:10]}.log"


async def test_the_ordinary_log_is_in_utc(folder: Path, zone: Zone) -> None:
    zone("XXX+9", "UTC")
    async with World() as world, process("sqlite:///listserv.db", folder, world) as there:
        said = re.match(r"(\S+)Z INFO listserv: listening", there.stderr.read_text())
        assert said
        assert timedelta() <= datetime.now(UTC) - datetime.fromisoformat(f"{said[1]}+00:00") <= NEAR
