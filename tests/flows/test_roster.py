"""Lists of people as files: whatever the bytes are, each line is a person or a fault."""

import time
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from listserv.flows import roster
from listserv.model.account import Member
from listserv.model.address import parse
from listserv.model.group import Mode, Role

NAMES = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp"))).map(str.strip)
LOCALS = st.from_regex(r"[a-z0-9!#$%&'*+/=?^_`{|}~-]{1,20}", fullmatch=True)


def read(content: bytes) -> roster.Roster:
    return roster.read(content, lambda person: None)


@given(st.binary(max_size=500) | st.text(st.characters(exclude_categories=("Cs",)), max_size=500).map(str.encode))
def test_no_file_is_ever_an_exception(content: bytes) -> None:
    found = read(content)
    assert all(fault.line >= 1 and fault.what for fault in found.faults)
    assert len({person.address.key for person in found.people}) == len(found.people)


@given(
    st.lists(st.tuples(LOCALS, NAMES, st.sampled_from(Role), st.sampled_from([Mode.EACH, Mode.NONE]), st.booleans()))
)
def test_what_is_written_is_read_again(people: list[tuple[str, str, Role, Mode, bool]]) -> None:
    members = [
        Member(n, n, f"{local}@x.example", f"{local}@x.example", name, "", role, mode, moderated, datetime.now(UTC), "")
        for n, (local, name, role, mode, moderated) in enumerate(people)
        if len(name) <= 200 and not local.startswith("#") and parse(f"{local}@x.example")
    ]
    found = read("".join(roster.write(members)).encode())
    assert found.faults == ()
    first = {member.key: member for member in reversed(members)}
    assert {p.address.key: (p.name, p.role, p.mode, p.moderated) for p in found.people} == {
        key: (m.name, m.role, m.mode, m.moderated) for key, m in first.items()
    }


def test_a_person_who_is_refused_is_a_fault_of_that_line() -> None:
    found = roster.read(b"a@a.example\n\nb@b.example\n", lambda person: "no" if person.address.local == "b" else None)
    assert found.faults == (roster.Fault(3, "no"),)
    assert [str(person.address) for person in found.people] == ["a@a.example"]


def test_names_may_stand_before_addresses_in_angle_brackets() -> None:
    found = read(b'Ada <a@a.example>\n"B, the 2nd" <b@b.example>\n<c@c.example>\nD <d@d.example\n')
    assert [(str(p.address), p.name) for p in found.people] == [
        ("a@a.example", "Ada"),
        ("b@b.example", "B, the 2nd"),
        ("c@c.example", ""),
    ]
    assert [fault.line for fault in found.faults] == [4]


def test_no_line_takes_long() -> None:
    pieces = (b'"', b"<", b"a,", b" ", b"\t<", b'" <', b"email,", b"@", b"#", b"\r")
    began = time.process_time()
    for piece in pieces:
        for length in (9_000, 2_000_000):
            line = piece * (length // len(piece)) + b"x"
            read(b"email,name\n" + line)
            read(line)
    assert time.process_time() - began < 20  # 1.5 s measured
