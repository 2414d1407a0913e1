"""What a fuzzer begins with: words of mail, and real cases from tests/messages and tests/dialogues.

python -m tests.fuzz.seeds TARGET FOLDER      writes the seeds of a target, one a file
"""

import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]

WORDS = [
    *(b"From: ", b"Subject: ", b"To: ", b"Content-Type: ", b"Content-Transfer-Encoding: ", b"DKIM-Signature: "),
    *(b"Authentication-Results: ", b"Message-ID: ", b"Date: ", b"List-Id: ", b"X-Loop: ", b"Content-MD5: x"),
    *(
        b"multipart/mixed; boundary=m",
        b"multipart/alternative; boundary=n",
        b"text/plain",
        b"text/html; charset=",
        b"utf-8",
    ),
    *(
        b"iso-2022-jp",
        b"shift_jis",
        b"utf-16",
        b"; format=flowed",
        b"base64",
        b"quoted-printable",
        b"8bit",
        b"application/pkcs7-mime",
    ),
    *(
        b"\r\n",
        b"\r\n\r\n",
        b"\r\n--m",
        b"\r\n--n",
        b"--\r\n",
        b"\n",
        b"\r",
        b"\x00",
        b"\x1b$B",
        b"=",
        b"=\r\n",
        b'"',
        b"(",
        b"<",
        b">",
    ),
    *(
        b"</body>",
        b"R3LDvMOfZQ==",
        b"=?utf-8?q?=0A?=",
        b"ada@a.example",
        b"-----BEGIN PGP MESSAGE-----",
        b"; d=x; s=y",
        b" ",
        b"\xfc",
    ),
]


def of(target: str) -> list[bytes]:
    """Real cases for a target."""
    if target in ("dialogue", "lines"):
        return [_said(path.read_text()) for path in sorted((TESTS / "dialogues").glob("*.txt"))]
    folders = {"report": ("reports", "robots"), "command": ("replies",)}.get(target, ("posts", "robots", "replies"))
    found = [path for folder in folders for path in sorted((TESTS / "messages" / folder).rglob("*.eml"))]
    contents = [path.read_bytes() for path in found]
    if target == "command":
        return [content.partition(b"\n\n")[2] or content for content in contents]
    if target == "address":
        return [b"ada@a.example", b'"a b"@b.example', b"Ada <ada@[192.0.2.1]>", "ü@ü.example".encode()]
    return contents


def _said(dialogue: str) -> bytes:
    said = b"\xff"
    for line in dialogue.splitlines():
        if line.startswith("C:"):
            said += line[2:].strip(" ").encode() + b"\r\n"
        elif line.startswith("C>"):
            said += line[2:].strip(" ").encode().decode("unicode_escape").encode("latin-1")
    return said


if __name__ == "__main__":
    target, folder = sys.argv[1], Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(of(target)):
        (folder / f"seed-{number}").write_bytes(content)
