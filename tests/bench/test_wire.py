"""Load, sink and name server understand each other."""

import time
from collections.abc import Iterator

import dns.message
import dns.query
import dns.rcode
import pytest

from tests.bench import crowd, load, names
from tests.bench.crowd import Crowd
from tests.bench.sink import Sink


@pytest.fixture
def sink() -> Iterator[Sink]:
    sink = Sink.start()
    yield sink
    sink.stop()


def test_the_sink_remembers_who_got_what_and_samples_are_whole(sink: Sink) -> None:
    posts = crowd.posts(Crowd(3), "a@x.invalid", 9) + crowd.posts(Crowd(3), "b@x.invalid", 1, crowd.BIG)
    sink.reset(sample=3)
    sent = load.send(load.Door(sink.port), posts, sessions=2)
    taken = {each.message_id: each for each in sink.harvest()}
    assert {each.message.id for each in sent} == set(taken) == {post.id for post in posts}
    assert all(taken[post.id].recipients == (post.group,) for post in posts)
    assert all(each.taken and each.began < each.ended < taken[each.message.id].at < each.answered for each in sent)
    whole = {id: each.content for id, each in taken.items() if each.content is not None}
    assert len(whole) == 4
    assert whole == {post.id: post.content for post in posts if post.id in whole}
    sink.reset()
    assert (sink.count(), sink.harvest()) == (0, [])


def test_a_far_sink_takes_its_time_for_each_reply(sink: Sink) -> None:
    sink.reset(delay=0.02)
    began = time.monotonic()
    load.send(load.Door(sink.port), crowd.posts(Crowd(1), "a@x.invalid", 2))
    assert time.monotonic() - began >= 7 * 0.02  # greeting, EHLO, two times (commands, content), QUIT


def test_the_name_server_knows_what_it_was_told_and_nothing_else() -> None:
    with names.serving({"k._domainkey.x.invalid": "v=DKIM1; p=" + "A" * 300}) as port:
        known, parent, unknown = (
            dns.query.udp(dns.message.make_query(name, "TXT"), "127.0.0.1", port=port, timeout=20)
            for name in ("k._domainkey.x.invalid", "x.invalid", "y.invalid")
        )
    assert b"".join(known.answer[0][0].strings) == b"v=DKIM1; p=" + b"A" * 300
    assert (parent.rcode(), parent.answer) == (dns.rcode.NOERROR, [])
    assert unknown.rcode() == dns.rcode.NXDOMAIN
