"""The header of a post becomes the header of a group's post; and the one place where a header line is made.

Promises: no name, text, address or token can end a line or begin a field, because every line of ours comes from
`field`, `structured` or `mailbox_field`; what the author wrote and we need not change stays byte for byte and in order;
no field names a door that is not open.

Sources: RFC 2369 (List-*), RFC 2919 (List-Id), RFC 8058 (one click), RFC 5322 §2.1.1 and §2.2.3 (length, folding),
RFC 2047 (encoded words), RFC 6068 §2 (mailto), RFC 8601 §5 (forged Authentication-Results), RFC 6376 §3.5 (d=, s=).
"""

import re
from collections.abc import Collection, Sequence
from urllib.parse import quote

from listserv.mail import words
from listserv.mail.message import Field, Message
from listserv.model import address
from listserv.model.address import Address
from listserv.model.group import Group, Joining, Kind, Posting, ReplyTo

MAX_LINE = 998  # octets without the line end
LOOP_FIELD = "X-Loop"  # carries the group's guard: see trace.own_loop
_FOLD_AT = 78
_MAX_WORD = 900  # octets of a plain word; a longer one could not be folded

_NAME = re.compile(r"[!-9;-~]{1,76}\Z")
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*\Z")
_URL = re.compile(r"[!-;=?-~]+\Z")
_COMMENT = re.compile(rb"\([^()]*+\)")
_NESTED = 100  # comments in comments, and then the field is nobody's
_WORD = re.compile(rb'[ \t]*"?([^ \t";]*)')


def field(name: str, value: str) -> bytes:
    """One header field of free text with its line end, folded; encoded words where it is not plain ASCII.

    ValueError for a control character or a line separator in the name or the value (the chokepoint of T13).
    """
    pieces = value.split(" ")
    coded = [at for at, piece in enumerate(pieces) if _needs_code(piece)]
    if not coded or not words.printable(value):
        return structured(name, value)
    first, last = coded[0], coded[-1] + 1
    return structured(name, " ".join([*pieces[:first], words.encode(" ".join(pieces[first:last])), *pieces[last:]]))


def structured(name: str, value: str) -> bytes:
    """One header field whose value follows a grammar: folded, but nothing in it is encoded; else as `field`.

    Letters beyond ASCII stay UTF-8 (RFC 6532 §3), for addresses that have them.
    """
    if not _NAME.match(name) or not words.printable(value):
        raise ValueError(f"not fit for a header: {name!r}: {value[:60]!r}")
    lines = [name + ":"]
    for piece in re.findall(" +[^ ]+", " " + value.strip(" ")):
        if len(lines[-1]) + len(piece) > _FOLD_AT and lines != [name + ":"]:
            lines.append(piece)
        else:
            lines[-1] += piece
    octets = [line.encode() for line in lines]
    if max(map(len, octets)) > MAX_LINE:
        raise ValueError(f"a line of {name} would be longer than {MAX_LINE} octets")
    return b"\r\n".join(octets) + b"\r\n"


def mailbox_field(name: str, *mailboxes: tuple[str, Address | str]) -> bytes:
    """From, To, Cc or Reply-To of (display name, address)."""
    return structured(name, ", ".join(mailbox(display, where) for display, where in mailboxes))


def mailbox(display: str, where: Address | str) -> str:
    """`"Name" <a@b>`, or the address alone when there is no name; ValueError when it is no address."""
    known = address.parse(str(where))
    if known is None:
        raise ValueError(f"not an address: {str(where)[:60]!r}")
    return f"{phrase(display)} <{known}>" if display.strip(" ") else str(known)


def phrase(name: str) -> str:
    """The name as atoms, as a quoted string, or as encoded words: it can be nothing but a name (RFC 5322 §3.2.5)."""
    plain = name.strip(" ")
    if not words.printable(plain):
        raise ValueError(f"control character in the name {name[:60]!r}")
    if any(_needs_code(piece) for piece in plain.split(" ")):
        return words.encode(plain)
    return plain if _ATOMS.match(plain) else '"' + re.sub(r'(["\\])', r"\\\1", plain) + '"'


def mailto(where: str) -> str:
    """`<mailto:…>` as List-* fields want it; in a URL only some characters stand for themselves (RFC 6068 §2)."""
    return "<mailto:" + quote(where, safe="!$'*+@") + ">"


def made(name: str, value: str) -> Field:
    """A field of free text."""
    return _made(name, field(name, value))


def made_mailbox(name: str, *mailboxes: tuple[str, Address | str]) -> Field:
    return _made(name, mailbox_field(name, *mailboxes))


def signature_tags(value: bytes) -> dict[str, str]:
    """The tags of a DKIM-Signature, in lower case and without blanks (RFC 6376 §3.2)."""
    tags: dict[str, str] = {}
    for tag in re.sub(rb"[ \t]+", b"", value).split(b";"):
        name, _, content = tag.decode("latin-1").partition("=")
        tags.setdefault(name, content.lower())
    return tags


def edition_fields(group: Group, guard: str) -> tuple[Field, ...]:
    """What is the same for all members, in writing order.

    guard  the group's secret mark (an HMAC of its address), by which we know our own post when it comes back
    """
    open_to_members = group.kind is Kind.DISCUSSION and group.policy.posting in (Posting.MEMBERS, Posting.ANYONE)
    lines = [
        ("List-Id", f"{phrase(words.clean(group.title)) or group.local} <{group.list_id}>"),
        ("List-Help", mailto(group.door("help"))),
        ("List-Post", mailto(group.address) if open_to_members else "NO"),
        ("List-Owner", mailto(group.door("owner"))),
    ]
    if group.policy.joining in (Joining.CONFIRM, Joining.MODERATED):
        lines.append(("List-Subscribe", mailto(group.door("subscribe"))))
    lines += [("Precedence", "list"), (LOOP_FIELD, guard)]
    return tuple(_made(name, structured(name, value)) for name, value in lines)


def stamp_fields(leave_mailbox: str, leave_url: str = "") -> tuple[Field, ...]:
    """What differs from member to member; the DKIM signature has to cover it (RFC 8058 §4).

    leave_mailbox  an address that ends the same subscription by mail (RFC 2369 §3.2)
    leave_url      answers a bare POST without a question (RFC 8058 §3.1); "" where there is no web
    """
    if not leave_url:
        return (_made("List-Unsubscribe", structured("List-Unsubscribe", mailto(leave_mailbox))),)
    if not _URL.match(leave_url):
        raise ValueError(f"not fit for List-Unsubscribe: {leave_url[:60]!r}")
    return (
        _made("List-Unsubscribe", structured("List-Unsubscribe", f"<{leave_url}>, {mailto(leave_mailbox)}")),
        _made("List-Unsubscribe-Post", structured("List-Unsubscribe-Post", "List-Unsubscribe=One-Click")),
    )


def results_field(value: str) -> tuple[Field, ...]:
    """Our Authentication-Results with this value (RFC 8601 §2.2), or no field when nothing was checked."""
    return (_made("Authentication-Results", structured("Authentication-Results", value)),) if value else ()


def strip(message: Message, authserv_ids: Collection[str], own_keys: Collection[tuple[str, str]]) -> tuple[Field, ...]:
    """The fields that go on to the members, untouched (but for the line end that a truncated last one lacks).

    Left behind: List-*, Precedence and Return-Path, which are ours to say; signatures by our own keys, which hold no
    longer; and Authentication-Results in our name, which nobody else may write (RFC 8601 §5).

    authserv_ids  host names that we or our own MTAs report under
    own_keys      (domain, selector) of our DKIM keys, present and past
    """
    ids = frozenset(name.lower() for name in authserv_ids)
    keys = frozenset((domain.lower(), selector.lower()) for domain, selector in own_keys)
    kept = [each for each in message.fields if not _left_behind(each, ids, keys)]
    return tuple(each if each.raw.endswith(b"\n") else Field(each.name, each.raw + b"\r\n") for each in kept)


def amend(fields: Sequence[Field], group: Group) -> tuple[Field, ...]:
    """The author's fields with what the group's policy wants in them: the subject tag, and Reply-To."""
    amended = tuple(fields)
    if group.policy.subject_tag.strip():
        amended = _tagged(amended, words.clean(group.policy.subject_tag).strip())
    if group.policy.reply_to is ReplyTo.GROUP:  # the author stays visible in From
        amended = (
            *(each for each in amended if each.name != "reply-to"),
            _made("Reply-To", structured("Reply-To", group.address)),
        )
    return amended


def _needs_code(piece: str) -> bool:
    return not piece.isascii() or "=?" in piece or len(piece) > _MAX_WORD


def _made(name: str, raw: bytes) -> Field:
    return Field(name.lower(), raw)


def _left_behind(each: Field, ids: frozenset[str], keys: frozenset[tuple[str, str]]) -> bool:
    if each.name == "dkim-signature":
        return _signer(each.value) in keys
    if each.name == "authentication-results":
        return authserv_id(each.value) in ids
    return each.name in ("precedence", "return-path") or each.name.startswith("list-")


def _signer(value: bytes) -> tuple[str, str]:
    """d= and s= of a DKIM-Signature, in lower case."""
    tags = signature_tags(value)
    return tags.get("d", ""), tags.get("s", "")


def authserv_id(value: bytes) -> str:
    """The first word of Authentication-Results, read as generously as anybody may (RFC 8601 §2.2)."""
    for _ in range(_NESTED):
        value, comments = _COMMENT.subn(b" ", value)
        if not comments:
            break
    found = _WORD.match(value)
    return found[1].replace(b"\\", b"").decode("latin-1").lower() if found else ""


def _tagged(fields: tuple[Field, ...], tag: str) -> tuple[Field, ...]:
    """The first Subject with the tag before it, unless it stands somewhere in it already (behind Re:, for instance)."""
    old = next((each for each in fields if each.name == "subject"), None)
    if old is None:
        return (*fields, _made("Subject", field("Subject", f"{tag} (no subject)")))
    if tag.lower() in words.text(old.value).lower():
        return fields
    return tuple(Field("subject", _with_tag(old.raw, tag)) if each is old else each for each in fields)


def _with_tag(raw: bytes, tag: str) -> bytes:
    """Spliced, never decoded: re-encoding spoils one subject in a hundred."""
    name, _, rest = raw.partition(b":")
    start = name + b": "
    if _needs_code(tag):
        # Between two encoded words the blank does not count, so it goes into ours (RFC 2047 §6.2).
        tag = words.encode(tag + " " if rest.lstrip(b" \t\r\n").startswith(b"=?") else tag)
    start += tag.encode("ascii")
    if not rest.startswith((b" ", b"\t", b"\r\n", b"\n")):
        start += b" "
    elif len(start) + rest.find(b"\n") > MAX_LINE and rest.startswith((b" ", b"\t")):
        start += b"\r\n"
    return start + rest
