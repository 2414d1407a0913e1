"""A hundred vacation responders: what they write when a question of ours reaches them.

Those of `tests/messages/robots` are real ones; the others cross what real ones do: the fields they set or leave out,
how they begin the subject, in which language they excuse their owner, and whether they thread their answer.
"""

from collections.abc import Iterator
from pathlib import Path

from listserv.mail import message

ROBOTS = Path(__file__).parent.parent / "messages" / "robots"

# What a responder says of itself, if anything.
FIELDS = (
    "Auto-Submitted: auto-replied",
    "Auto-Submitted: auto-replied (vacation)",
    "Auto-Submitted: auto-generated",
    "Precedence: bulk",
    "Precedence: auto_reply",
    "Precedence: junk\r\nX-Auto-Response-Suppress: All",
    "X-Autoreply: yes",
    "X-Autorespond: Please confirm",
    "X-Auto-Response-Suppress: DR, RN, NRN, OOF, AutoReply\r\nX-MS-Exchange-Inbox-Rules-Loop: nina@n.example",
    "X-Vacation: yes",
    "Delivered-To: Autoresponder",
    "X-Mail-Autoreply: 1",
    "",
)
# How it begins its subject, and what it says first.
EXCUSES = (
    ("Automatic reply: {}", "I am out of the office until Monday and will answer then."),
    ("Out of Office: {}", "Thank you for your message. I am on annual leave until 3 December."),
    ("Auto: {}", "Hello,\r\n\r\nthis is an automated response: I have limited access to email."),
    ("Re: {}", "I'm currently out of the office with no access to my mail."),
    ("On vacation", "I am on vacation. Yes, really. Until Monday!"),
    ("Automatische Antwort: {}", "Ich bin bis zum 3. Dezember nicht im Büro."),
    ("Abwesenheitsnotiz: {}", "Vielen Dank für Ihre Nachricht. Ich bin im Urlaub."),
    ("AW: {}", "Guten Tag,\r\n\r\nich bin derzeit abwesend. Ihre Mail wird nicht weitergeleitet."),
    ("Abwesend", "Ja, ich bin außer Haus."),
    ("Réponse automatique : {}", "Je suis absent du bureau jusqu'à lundi."),
    ("Respuesta automática: {}", "Estoy fuera de la oficina hasta el lunes."),
    ("Risposta automatica: {}", "Sono in ferie fino a lunedì."),
    ("Automatisch antwoord: {}", "Ik ben met vakantie tot maandag."),
)
BOUNCE = (
    'Content-Type: multipart/report; report-type=delivery-status; boundary="b"',
    "--b\r\n\r\nThe mailbox is full.\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\nStatus: 4.2.2\r\n--b--\r\n",
)


def all_of_them(subject: str, answers: str) -> Iterator[tuple[str, bytes]]:
    """Envelope sender and content of each; `subject` and `answers` (a Message-ID) are those of the question."""
    for path in sorted(ROBOTS.glob("*.eml")):
        content = path.read_bytes()
        returned = message.parse(content).first("return-path")
        yield (returned.value.decode().strip("<>") if returned else ""), content
    for number, fields in enumerate(FIELDS):
        for shift in range(5):
            title, text = EXCUSES[(number + shift * 3) % len(EXCUSES)]
            yield _made(title.format(subject), text, fields, answers if shift % 2 else "")
    for title, text in EXCUSES:  # nothing but their words
        yield _made(title.format(subject), text, "", answers)
    yield _made("Undelivered Mail", BOUNCE[1], BOUNCE[0], "")
    yield "", _made(f"Re: {subject}", "", "", answers)[1]
    sender, content = _made(f"Re: {subject}", "", "", answers)
    yield "MAILER-DAEMON@n.example", content.replace(b"nina@n.example", b"MAILER-DAEMON@n.example")
    yield sender, content.replace(b"Subject:", b"List-Id: <all.n.example>\r\nSubject:")


def _made(subject: str, text: str, fields: str, answers: str) -> tuple[str, bytes]:
    head = ["From: Nina <nina@n.example>", "To: walkers-confirm@lists.example", f"Subject: {subject}"]
    head += ["MIME-Version: 1.0", *([fields] if fields else []), *([f"In-Reply-To: {answers}"] if answers else [])]
    if "Content-Type" not in fields:
        head.append("Content-Type: text/plain; charset=utf-8")
    return "nina@n.example", ("\r\n".join([*head, "", text, ""])).encode()
