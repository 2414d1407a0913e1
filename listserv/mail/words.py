"""Words in headers, and the character sets they and the bodies are written in.

Promises: nothing here raises on what others wrote, every scan is linear, and only character sets of a fixed table
are ever handed to Python (its `punycode` and `idna` are quadratic, its cache remembers every name it is asked for).

Sources: RFC 2047 (encoded words), RFC 2231 §5 (language suffix), RFC 6532 (raw UTF-8).
"""

import base64
import binascii
import re
from collections.abc import Iterator
from encodings.aliases import aliases

MAX_DISPLAY = 1_000  # characters of one header that a person is shown
_MAX_INPUT = 8_192  # octets of a header that are looked at for it
_MAX_WORD = 75  # RFC 2047 §2

# Anything that could end a line, hide text or split a field.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

_UNFIT = {"punycode", "idna", "unicode_escape", "raw_unicode_escape", "undefined", "mbcs", "oem"}
_UNFIT |= {"base64_codec", "bz2_codec", "hex_codec", "quopri_codec", "rot_13", "uu_codec", "zlib_codec"}  # not text
_CODECS = {alias: codec for alias, codec in aliases.items() if codec not in _UNFIT}
_CODECS |= {codec: codec for codec in _CODECS.values()}
_CODECS |= {"koi8_r": "koi8_r", "koi8_u": "koi8_u", "iso_8859_8_i": "iso8859_8", "utf8mb4": "utf_8", "x_gbk": "gbk"}
_CODECS |= {"windows_874": "cp874", "x_sjis": "shift_jis", "x_windows_949": "cp949", "cp_850": "cp850"}

# What writers label by the smaller set and fill from the larger one; for reading only.
_SUPERSETS = {"iso8859_1": "cp1252", "latin_1": "cp1252", "gb2312": "gb18030", "gbk": "gb18030"}
_SUPERSETS |= {"shift_jis": "cp932", "euc_kr": "cp949", "ascii": "utf_8"}

_NO_BASE64 = bytes(set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"))
_ENCODED = re.compile(rb"=\?([^?\s]{1,64})\?([bBqQ])\?([^?\r\n]*+)\?=")
_BETWEEN = re.compile(rb"[ \t\r\n]*")


def codec(charset: str) -> str | None:
    """Python's name of a MIME charset that is in the table, or None."""
    name = charset.partition("*")[0].strip().lower()  # RFC 2231 §5: us-ascii*en
    return _CODECS.get(re.sub(r"[^a-z0-9]+", "_", name[:40]))


def decode(data: bytes, charset: str) -> str:
    """What the bytes say, with U+FFFD for what they cannot say; an unknown charset is tried as UTF-8, then Latin."""
    known = codec(charset)
    if known in (None, "ascii"):
        return _guess(data)
    return data.decode(_SUPERSETS.get(known, known), "replace")


def text(value: bytes, limit: int = MAX_DISPLAY) -> str:
    """A header's value as a person should read it: one line, at most `limit` characters, no control characters."""
    whole = clean("".join(_runs(value[:_MAX_INPUT]))).strip()
    return whole if len(whole) <= limit else whole[: limit - 1] + "…"


def printable(line: str) -> bool:
    """No control character, line separator or half character is in it: it may stand in a header."""
    return not _UNPRINTABLE.search(line)


def clean(line: str) -> str:
    """The same with a space for each character that `printable` does not allow."""
    return _UNPRINTABLE.sub(" ", line)


def encode(words: str) -> str:
    """The text as RFC 2047 words of at most 75 characters, a space between, fit for phrases too (§5 rule 3)."""
    return " ".join(_word(piece) for piece in _pieces(words))


def _guess(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def _runs(value: bytes) -> Iterator[str]:
    """Plain text and decoded words in turn; neighbours in one charset are joined, for some writers cut characters."""
    at = 0
    charset, pending = "", b""
    for word in _ENCODED.finditer(value):
        between = value[at : word.start()]
        mine = word[1].decode("ascii", "replace").lower()
        alone = not charset or not _BETWEEN.fullmatch(between)
        if alone or mine != charset:
            yield decode(pending, charset)
            pending = b""
        if alone:  # RFC 2047 §6.2: blanks between two words do not count
            yield _guess(between)
        charset, at = mine, word.end()
        pending += _content(word)
    yield decode(pending, charset)
    yield _guess(value[at:])


def _content(word: re.Match[bytes]) -> bytes:
    if word[2] in b"qQ":
        return binascii.a2b_qp(word[3], header=True)
    return loose_base64(word[3])


def loose_base64(data: bytes) -> bytes:
    """What base64 says as far as it is base64: foreign characters and missing padding do not matter."""
    letters = data.translate(None, _NO_BASE64)
    letters = letters[: len(letters) - (len(letters) % 4 == 1)]
    return base64.b64decode(letters + b"=" * (-len(letters) % 4))


def _pieces(words: str) -> Iterator[str]:
    """Cut so that each piece fits into one word in either encoding; never inside a character."""
    piece, size = "", 0
    for letter in words:
        octets = letter.encode()
        cost = 1 if letter.isascii() and letter.isalnum() else 3 * len(octets)
        if size + cost > _MAX_WORD - len("=?utf-8?q??="):
            yield piece
            piece, size = "", 0
        piece, size = piece + letter, size + cost
    yield piece


def _word(piece: str) -> str:
    octets = piece.encode()
    quoted = "".join(
        chr(o) if o < 128 and (chr(o).isalnum() or o in b"!*+-/") else "_" if o == 0x20 else f"={o:02X}" for o in octets
    )
    packed = base64.b64encode(octets).decode()
    return f"=?utf-8?q?{quoted}?=" if len(quoted) <= len(packed) else f"=?utf-8?b?{packed}?="
