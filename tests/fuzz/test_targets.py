"""Whatever octets come, no parser raises or breaks its promise; `scripts/fuzz` asks the same for longer."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.seeds import WORDS
from tests.fuzz.targets import TARGETS

LINES = [
    *(b"EHLO c.example\r\n", b"LHLO c.example\r\n", b"MAIL FROM:<a@a.example>\r\n", b"MAIL FROM:<>\r\n"),
    *(b"RCPT TO:<g@lists.example>\r\n", b"RCPT TO:<nobody@lists.example>\r\n", b"DATA\r\n", b"\r\n.\r\n", b".\r\n"),
    *(b"QUIT\r\n", b"RSET\r\n", b"NOOP\r\n", b"STARTTLS\r\n", b"VRFY x\r\n", b" SIZE=99", b" SMTPUTF8", b"approve\n"),
    *(b"Status: 5.1.1\n", b"Action: failed\n", b"\nFinal-Recipient: rfc822; x\n", b"reject\n", b"discard 3-7\n"),
    *(b"set ", b"own posts ", b"no", b"unsubscribe", b"subscribe sailing ", b"address add ", b"Re: which", b"end"),
    *(b"<p>", b"<blockquote>", b"> ", b"-- \n", b"On Sunday, X wrote:\n", b"&#x0;"),
]


def octets(words: list[bytes]) -> st.SearchStrategy[bytes]:
    pieces = st.sampled_from(words) | st.binary(max_size=4)
    return st.lists(pieces, max_size=40).map(b"".join) | st.binary(max_size=200)


@pytest.mark.parametrize("name", TARGETS)
def test_no_octets_break_a_promise(name: str) -> None:
    words = LINES if name in ("dialogue", "lines", "command") else [*WORDS, *LINES[-20:]]

    @settings(max_examples=200, deadline=2000)
    @given(octets(words))
    def fed(raw: bytes) -> None:
        TARGETS[name](raw)

    fed()
