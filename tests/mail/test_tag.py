"""Tags and tokens: ours are read, and nothing else is (RELIABILITY.md T22)."""

import hashlib

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from listserv.mail import tag
from listserv.mail.tag import MAX_ID, Tagger

ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
OURS = Tagger((b"the secret of this server", b"the secret it had before"))

secrets = st.binary(min_size=16, max_size=64)
groups = st.integers(0, 2**63 - 1)
ids = st.integers(0, MAX_ID)
purposes = st.sampled_from(["bounce", "leave"])


def make(tagger: Tagger, purpose: str, group: int, id: int) -> str:
    return tagger.bounce(group, id) if purpose == "bounce" else tagger.leave(group, id)


def read(tagger: Tagger, purpose: str, group: int, text: str) -> int | None:
    return tagger.read_bounce(group, text) if purpose == "bounce" else tagger.read_leave(group, text)


@given(purposes, groups, ids)
def test_a_tag_is_read_back_in_any_case(purpose: str, group: int, id: int) -> None:
    text = make(OURS, purpose, group, id)
    assert len(text) == 21
    assert set(text) <= set(ALPHABET)
    assert read(OURS, purpose, group, text) == read(OURS, purpose, group, text.upper()) == id
    assert read(OURS, purpose, group, text.title()) == id


def test_tags_stay_what_they_are_between_versions() -> None:
    # mail that is under way, or in a mailbox for years, carries them
    assert OURS.bounce(7, 1_234_567) == "aaabfvuhthal5tfuynsye"
    assert OURS.leave(7, 1_234_567) == "aaabfvuhknpfakxp6tnc6"
    assert OURS.loop_guard("sailing.lists.example.org") == "4ykcwckbm2fxyxnr5qoxppas"


@given(purposes, groups, ids, st.integers(0, 20), st.integers(1, 31))
def test_no_other_character_fits_in_any_place(purpose: str, group: int, id: int, place: int, step: int) -> None:
    text = make(OURS, purpose, group, id)
    other = ALPHABET[(ALPHABET.index(text[place]) + step) % 32]
    assert read(OURS, purpose, group, text[:place] + other + text[place + 1 :]) is None


def test_each_of_the_bits_counts_and_the_spare_one_is_zero() -> None:
    text = OURS.bounce(7, 1_234_567)
    for bit in range(21 * 5):
        place, value = divmod(bit, 5)
        flipped = ALPHABET[ALPHABET.index(text[place]) ^ (1 << value)]
        assert OURS.read_bounce(7, text[:place] + flipped + text[place + 1 :]) is None


@given(groups, ids)
def test_a_tag_serves_its_own_purpose_only(group: int, id: int) -> None:
    assert OURS.read_leave(group, OURS.bounce(group, id)) is None
    assert OURS.read_bounce(group, OURS.leave(group, id)) is None


@given(purposes, groups, groups, ids)
def test_a_tag_serves_its_own_group_only(purpose: str, group: int, other: int, id: int) -> None:
    assume(group != other)
    assert read(OURS, purpose, other, make(OURS, purpose, group, id)) is None


@given(purposes, groups, ids, secrets)
def test_a_tag_of_another_secret_is_refused(purpose: str, group: int, id: int, secret: bytes) -> None:
    assume(secret not in OURS.secrets)
    assert read(OURS, purpose, group, make(Tagger((secret,)), purpose, group, id)) is None


@given(purposes, groups, ids)
def test_a_new_secret_signs_while_the_old_one_is_still_read(purpose: str, group: int, id: int) -> None:
    before, between, after = Tagger((b"o" * 16,)), Tagger((b"n" * 16, b"o" * 16)), Tagger((b"n" * 16,))
    old, new = make(before, purpose, group, id), make(between, purpose, group, id)
    assert read(between, purpose, group, old) == read(between, purpose, group, new) == id
    assert read(after, purpose, group, new) == id
    assert read(after, purpose, group, old) is read(before, purpose, group, new) is None


@given(st.text(max_size=40) | st.text(alphabet=ALPHABET + "=\u017f\u0131\u212a018", min_size=20, max_size=25))
def test_whatever_is_shown_is_refused_without_a_fault(text: str) -> None:
    assert OURS.read_bounce(7, text) is None
    assert OURS.read_leave(7, text) is None


@pytest.mark.parametrize("wrap", ["{}=", "{}===", " {}", "{}\n", "{}a", "\u2028{}"])
def test_nothing_may_stand_around_a_tag(wrap: str) -> None:
    assert OURS.read_bounce(7, wrap.format(OURS.bounce(7, 1))) is None


def test_letters_whose_capital_is_an_ascii_one_are_no_second_spelling() -> None:
    text = next(found for id in range(1000) if {"s", "k"} <= set(found := OURS.bounce(7, id)))
    assert OURS.read_bounce(7, text.replace("s", "\u017f")) is None
    assert OURS.read_bounce(7, text.replace("k", "\u212a")) is None
    assert tag.read_token("s" * 25 + "\u017f") is tag.read_token("k" * 25 + "\u212a") is None


@pytest.mark.parametrize("id", [-1, MAX_ID + 1])
def test_an_id_that_does_not_fit_is_refused_when_the_tag_is_made(id: int) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        OURS.bounce(7, id)


@pytest.mark.parametrize("poor", [(), (b"",), (b"long enough for this", b"short")])
def test_a_poor_secret_is_refused(poor: tuple[bytes, ...]) -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        Tagger(poor)


def test_secrets_are_never_shown() -> None:
    assert "secret of this" not in repr(OURS)


def test_the_longest_door_fits_into_a_local_part() -> None:
    assert len("g" * 28 + "-unsubscribe+" + OURS.leave(2**63 - 1, MAX_ID)) == 62
    assert len("g" * 28 + "-confirm+" + tag.token(bytes(17))) == 63


@given(st.text(alphabet=st.characters(codec="ascii"), max_size=60), st.text(max_size=60))
def test_a_loop_guard_is_that_of_one_list_in_any_case_and_of_one_server(list_id: str, other: str) -> None:
    guard = OURS.loop_guard(list_id)
    assert OURS.loop_guard(list_id.upper()) == guard
    assert (OURS.loop_guard(other) == guard) == (other.lower() == list_id.lower())
    assert Tagger((b"another server's secret",)).loop_guard(list_id) != guard


# Tokens


@given(st.binary(min_size=17, max_size=17))
def test_a_token_has_26_characters_and_one_form(random: bytes) -> None:
    text = tag.token(random)
    assert len(text) == 26
    assert set(text) <= set(ALPHABET)
    assert tag.read_token(text) == tag.read_token(text.upper()) == text
    assert tag.digest(text) == tag.digest(text.upper()) == hashlib.sha256(text.encode()).digest()


def test_each_of_its_130_bits_makes_another_token() -> None:
    tokens = {tag.token((1 << bit).to_bytes(17)) for bit in range(6, 136)}
    assert len(tokens | {tag.token(bytes(17))}) == 131
    assert len({tag.digest(token) for token in tokens}) == 130
    assert {tag.token((1 << bit).to_bytes(17)) for bit in range(6)} == {tag.token(bytes(17))}


@given(st.text(max_size=30) | st.text(alphabet=ALPHABET + "=\u017f\u0131\u212a0189", min_size=25, max_size=27))
def test_what_cannot_be_a_token_is_none(text: str) -> None:
    fits = len(text) == 26 and set(text) <= set(ALPHABET + ALPHABET.upper())
    assert tag.read_token(text) == (text.lower() if fits else None)
    if not fits:
        with pytest.raises(ValueError, match="not a token"):
            tag.digest(text)


@pytest.mark.parametrize("octets", [0, 16, 18])
def test_a_token_is_not_made_of_too_little_chance(octets: int) -> None:
    with pytest.raises(ValueError, match="17 bytes"):
        tag.token(bytes(octets))
