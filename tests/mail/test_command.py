"""What replies say: as real clients write them, word by word, and whatever anybody may send."""

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listserv.mail import command, markup, message, mime
from listserv.mail.command import Approve, Batch, Consent, Decision, Discard, Nothing, Reject, Unclear, Undo
from listserv.mail.quoting import unquoted

REPLIES = Path(__file__).parent.parent / "messages" / "replies"

PARAGRAPHS = """The group is about sailing in the North Sea. Offers of shops are not
welcome, and this one came three times.
Please read the rules first:
https://lists.example.org/sailing"""

# What each writer meant.
MEANT: dict[str, Decision] = {
    "apple-mail-de-both-approve": Approve(),
    "apple-mail-en-deny-reason": Reject("Please leave out the price list\nand post again."),
    "apple-mail-es-undo": Undo(),
    "apple-mail-fr-latin1-accept": Approve(),
    "button-gmail-app-reject": Reject(),
    "button-ios-mail-discard": Discard(),
    "fastmail-en-reject-paragraphs": Reject(PARAGRAPHS),
    "gmail-app-de-ja-klar": Unclear("Ja klar, passt"),
    "gmail-app-en-go-ahead": Unclear("ok go ahead"),
    "gmail-app-es-reject-lines": Reject(
        "Esto es publicidad.\nPor favor, envíelo al grupo de anuncios:\nanuncios@lists.example.org"
    ),
    "gmail-web-en-approve": Approve(),
    "gmail-web-en-empty": Nothing(),
    "gmail-web-en-signature-with-ok": Reject(),
    "gmail-web-fr-approve": Approve(),
    "gmx-web-de-html-only-approve": Approve(),
    "ios-mail-de-plain-ok": Approve(),
    "ios-mail-de-reject-reason": Reject("Werbung gehört nicht hierher"),
    "ios-mail-en-approve": Approve(),
    "ios-mail-en-plain-no": Reject(),
    "ios-mail-es-discard": Discard(),
    "ios-mail-fr-empty": Nothing(),
    "k9-de-both-reject-reason": Reject("zu groß"),
    "k9-en-approve": Approve(),
    "mutt-en-pgp-inline-approve": Approve(),
    "mutt-en-question-below": Unclear("Hi,"),
    "outlook-2010-en-plain-approve": Approve(),
    "outlook-android-de-reject": Reject(),
    "outlook-android-fr-empty": Nothing(),
    "outlook-desktop-de-reject-reason-signature": Reject("bitte in der Börse anbieten,\nnicht hier."),
    "outlook-desktop-en-approve": Approve(),
    "outlook-desktop-en-html-only-no-thanks": Unclear("No thanks, not for us"),
    "outlook-desktop-es-approve": Approve(),
    "outlook-desktop-fr-html-only-discard": Discard(),
    "outlook-ios-en-approve": Approve(),
    "outlook-ios-es-html-only-spam": Discard(),
    "outlook-web-de-base64-yes": Approve(),
    "outlook-web-en-reject-signature": Reject("This belongs in the marketplace."),
    "proton-mobile-fr-reject-reason": Reject("merci de traduire en anglais"),
    "proton-web-en-approve": Approve(),
    "roundcube-en-inline-between-quotes": Reject("not about boats"),
    "samsung-mail-de-html-only-reject-reason": Reject("bitte nur Regatten"),
    "thunderbird-android-fr-discard": Discard(),
    "thunderbird-de-html-only-bottom-reject": Reject("Bitte ohne Anhang noch einmal schicken."),
    "thunderbird-en-bottom-approve": Approve(),
    "thunderbird-en-html-only-top-spam": Discard(),
    "thunderbird-es-top-flowed-approve": Approve(),
    "thunderbird-fr-bottom-no": Reject(),
    "yahoo-android-es-reject-reason": Reject("fuera de tema"),
    "yahoo-web-de-html-only-deny": Reject(),
    "yahoo-web-en-approve": Approve(),
    "yahoo-web-en-empty": Nothing(),
}


def texts(name: str) -> mime.Texts:
    return mime.text_parts(message.parse((REPLIES / f"{name}.eml").read_bytes()))


def test_every_reply_on_file_has_a_meaning_in_the_table():
    assert {path.stem for path in REPLIES.glob("*.eml")} == set(MEANT)
    assert len(MEANT) >= 44


@pytest.mark.parametrize("name", MEANT)
def test_a_reply_is_understood_as_its_writer_meant_it(name: str):
    said = texts(name)
    assert command.decision(said.plain, said.html) == MEANT[name]


@pytest.mark.parametrize("name", MEANT)
def test_the_html_of_a_reply_says_the_same_as_its_text(name: str):
    said = texts(name)
    if said.html:
        assert command.decision(None, said.html) == MEANT[name]


@pytest.mark.parametrize("name", MEANT)
def test_each_reply_quotes_our_words_or_comes_from_a_button(name: str):
    """Else the table above would prove nothing about quotes."""
    said = texts(name)
    quoted = (said.plain + said.html).lower().count("discard")
    assert quoted or name.startswith(("button", "mutt"))


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("approve", Approve()),
        ("OK!", Approve()),
        ("  Yes.", Approve()),
        ("*accept*", Approve()),
        ("“approve”", Approve()),
        ("o.k.", Approve()),
        ("ok 👍", Approve()),
        ("\u200bApprove\u00a0", Approve()),
        ("👍", Unclear("👍")),
        ("yes, please", Unclear("yes, please")),
        ("ok go ahead", Unclear("ok go ahead")),
        ("approve/reject/discard", Unclear("approve/reject/discard")),
        ("approved", Unclear("approved")),
        ("approve all", Unclear("approve all")),
        ("genehmigen", Unclear("genehmigen")),
        ("discard", Discard()),
        ("SPAM!!!", Discard()),
        ("spam filter is broken", Unclear("spam filter is broken")),
        ("no", Reject()),
        ("No.", Reject()),
        ("no thanks, not for us", Unclear("no thanks, not for us")),
        ("not yet", Unclear("not yet")),
        ("reject", Reject()),
        ("Deny!", Reject()),
        ("Reject: off topic", Reject("off topic")),
        ("reject - off topic", Reject("off topic")),
        ("reject off topic", Reject("off topic")),
        ("REJECT, off topic.", Reject("off topic.")),
        ("deny (see rule 3)", Reject("(see rule 3)")),
        ("rejected", Unclear("rejected")),
        ("please reject", Unclear("please reject")),
        ("undo", Undo()),
        ("Undo!", Undo()),
        ("undo please", Unclear("undo please")),
    ],
)
def test_the_first_line_decides(line: str, meant: Decision):
    assert command.decision(line, None) == meant


@pytest.mark.parametrize(
    ("line", "meant"), [("approve", Approve()), ("no", Reject()), ("spam", Discard()), ("hm", Unclear("hm"))]
)
def test_what_follows_an_answer_does_not_change_it(line: str, meant: Decision):
    assert command.decision(f"\n\n{line}\n\nreject\nthanks\nAda\n", "") == meant


def test_a_reason_ends_before_the_signature_and_a_valediction():
    assert command.decision("reject too long\nsee the rules\n-- \nAda", None) == Reject("too long\nsee the rules")
    assert command.decision("reject too long\nKind regards,\nAda", None) == Reject("too long")
    assert command.decision("reject\n\ntoo long\n\nSent from my iPhone", None) == Reject("too long")


def test_a_reason_has_a_limit_and_no_control_characters():
    said = command.decision("reject " + "x\x07y\r\n" * 5000, None)
    assert isinstance(said, Reject)
    assert said.reason.startswith("xy\nxy")
    assert len(said.reason) <= command.MAX_REASON


def test_a_mail_without_any_text_is_unclear_and_an_empty_one_says_nothing():
    assert command.decision(None, None) == Unclear("")
    assert command.decision("", "") == Unclear("")
    assert command.decision("\r\n", None) == Nothing()
    assert command.decision(None, "<html><body><br></body></html>") == Nothing()


INTRODUCTIONS = [
    "On Sunday, Sailing wrote:",
    "On Sun, Nov 22, 2026 at 10:02 AM Sailing <s@l.example> wrote:",
    "On Sun, Nov 22, 2026 at 10:02\u202fAM Sailing\n<sailing-confirm+k7q2mz5wd3h6t4xa@lists.example.org> wrote:",
    "On 11/22/26 10:02, Sailing wrote:",
    "2026-11-22 10:02 GMT+01:00 Sailing <s@l.example>:",
    "In a message dated 11/22/2026 10:02:11 AM Central European Time, s@l.example\nwrites:",
    "Sailing <s@l.example> wrote on 22.11.2026 10:02:",
    "Am 22.11.2026 um 10:02 schrieb Sailing <s@l.example>:",
    "Am So., 22. Nov. 2026 um\n10:02 Uhr schrieb Sailing <s@l.example>:",
    "Am Sonntag, 22. November 2026 um 10:02:11 MEZ hat Sailing <s@l.example> Folgendes geschrieben:",
    "Sailing <s@l.example> schrieb am So., 22. Nov. 2026,\n10:02:",
    "El dom, 22 nov 2026 a las 10:02, Sailing (<s@l.example>) escribió:",
    "El 22/11/26 a las 10:02, Sailing escribió:",
    "Le dim. 22 nov. 2026 à 10:02, Sailing <s@l.example> a écrit :",
    "Le 22/11/2026 à 10:02, Sailing a écrit\u00a0:",
    "Il giorno dom 22 nov 2026 alle ore 10:02 Sailing <s@l.example> ha\nscritto:",
    "Il 22/11/2026 10:02, Sailing ha scritto:",
    "Em dom., 22 de nov. de 2026 às 10:02, Sailing <s@l.example> escreveu:",
    "No dia 22/11/2026, às 10:02, Sailing <s@l.example> escreveu:",
    "Op zo 22 nov 2026 om 10:02 schreef Sailing <s@l.example>:",
    "Den sön 22 nov. 2026 kl 10:02 skrev Sailing <s@l.example>:",
    "22 nov. 2026 kl. 10:02 skrev Sailing <s@l.example>:",
    "Den søn. 22. nov. 2026 kl. 10.02 skrev Sailing <s@l.example>:",
    "søn. 22. nov. 2026 kl. 10:02 skrev Sailing <s@l.example>:",
    "niedz., 22 lis 2026 o 10:02 Sailing <s@l.example> napisał(a):",
    "W dniu 22.11.2026 o 10:02, Sailing pisze:",
    "вс, 22 нояб. 2026 г. в 10:02, Sailing <s@l.example>:",
    "22.11.2026 10:02, Sailing пишет:",
    "2026年11月22日(日) 10:02 Sailing <s@l.example>:",
    "2026/11/22 10:02、Sailing <s@l.example>のメール:",
    "Sailing <s@l.example> 于2026年11月22日周日 10:02写道：",
    "Sailing <s@l.example> 於 2026年11月22日 週日\n10:02寫道：",
    "Sailing wrote:",
]


@pytest.mark.parametrize("introduction", INTRODUCTIONS)
@pytest.mark.parametrize("above", ["", "No\n", "reject: ask Bob <bob@b.example>\n", "Hello 3\n"])
def test_a_line_that_introduces_a_quote_does_not_count_and_takes_nothing_with_it(introduction: str, above: str):
    reply = f"{above}{introduction}\n> approve   the message goes out\n>\n> discard\n"
    assert unquoted(reply, None) == above.splitlines()


@pytest.mark.parametrize("introduction", INTRODUCTIONS)
def test_an_answer_may_stand_below_the_quote(introduction: str):
    assert unquoted(f"{introduction}\n\n> reject\n\napprove\n-- \nreject\n", None) == ["approve"]


NOTICE = "A message waits.\n\napprove   it goes out\nreject    it does not\ndiscard   nobody is told\n"
BLOCKS = [
    "-----Original Message-----\n",
    "-----Ursprüngliche Nachricht-----\n",
    "----- Mensaje original -----\n",
    "-------- Message d'origine --------\n",
    "---------- Forwarded message ---------\n",
    "------------------ 原始邮件 ------------------\n",
    "-------- Original message --------From: Sailing\n",
    "________________________________\n",
    "From: S <s@l.example>\nSent: Sunday, November 22, 2026 10:02 AM\nTo: ada@a.example\nSubject: Held\n",
    "*From:* S <s@l.example>\n*Date:* Sunday\n*To:* ada@a.example\n",
    "Von: S\nGesendet: Sonntag\nAn: ada@a.example\nBetreff: Wartet\n",
    "Gesendet: Sonntag\nVon: S\nAn: ada@a.example\nBetreff: Wartet\n",
    "De : S\nEnvoyé : dimanche\nÀ : ada@a.example\nObjet : En attente\n",
    "De: S\nEnviado el: domingo\nPara: ada@a.example\nAsunto: Retenido\n",
    "Da: S\nInviato: domenica\nA: ada@a.example\nOggetto: x\n",
    "Van: S\nVerzonden: zondag\nAan: ada@a.example\nOnderwerp: x\n",
    "От: S\nОтправлено: воскресенье\nКому: ada@a.example\nТема: x\n",
    "差出人: S\n送信日時: 2026年11月22日\n宛先: ada@a.example\n件名: x\n",
    "发件人：S\n发送时间：2026年11月22日\n收件人：ada@a.example\n主题：x\n",
    "On Sunday, November 22, 2026 at 10:02:11 AM GMT+1, S <s@l.example> wrote:  \n \n ",
    "-- \nAda Lovelace\n",
    "Sent from my iPhone\n",
    "Get Outlook for iOS<https://aka.ms/x>\n",
    "[Get Outlook for Android](https://aka.ms/x)\n",
    "Von meinem iPhone gesendet\n",
    "Enviado desde mi iPad\n",
    "Envoyé de mon iPhone\n",
]


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("above", ["", "no\n\n"])
def test_below_these_lines_nothing_counts(block: str, above: str):
    assert unquoted(above + block + NOTICE, None) == above.split()


def test_a_date_at_the_beginning_of_a_reason_is_no_introduction():
    said = "reject\nLe 3 mai est déjà passé\nLe dim. 22 nov. 2026 à 10:02, Sailing a écrit :\n> approve\n"
    assert command.decision(said, None) == Reject("Le 3 mai est déjà passé")


def test_a_signature_with_nothing_above_it_may_hold_the_answer():
    assert command.decision(None, '<div id="Signature"><p>reject</p></div>') == Reject()
    assert command.decision(None, '<p>no</p><div id="Signature"><p>Ada</p></div>') == Reject()
    assert unquoted(None, '<p>no</p><div id="Signature"><p>Ada</p></div>') == ["no"]


def test_one_line_like_a_header_is_no_outlook_block():
    assert unquoted("reject\nFrom: shops we take nothing\nTo: be discussed on Monday", None)[1:] == [
        "From: shops we take nothing",
        "To: be discussed on Monday",
    ]


def test_an_answer_that_stands_where_the_quote_was_counts():
    assert command.decision("On Sunday, Sailing wrote:\n\nreject\n", None) == Reject()


@pytest.mark.parametrize(
    "quote",
    [
        '<div class="gmail_quote"><blockquote>approve</blockquote>reject</div>',
        '<blockquote type="cite"><blockquote>approve</blockquote>reject</blockquote>',
        '<blockquote type=cite cite="mid:x@y">approve<p>reject</blockquote>',
        '<div class="moz-cite-prefix">On Sunday<br></div><blockquote>approve</blockquote>',
        '<div id="appendonsend"></div><hr><div>approve</div>',
        "<div id='x_divRplyFwdMsg'>From</div><div>approve</div>",
        '<div style="border:none;border-top:solid #E1E1E1 1.0pt;padding:3.0pt 0 0 0"><p>Od: x</div><p>approve',
        '<div class="ydp1yahoo_quoted">approve</div>',
        '<div class="protonmail_quote">approve</div>',
        '<div name="quote">approve</div>',
        "<!-- approve --><style>approve</style><script>approve</script><title>approve</title>",
        '<div class="x" title="a > b">&nbsp;</div>',
    ],
)
def test_what_html_marks_as_a_quote_does_not_count(quote: str):
    assert unquoted(None, f"<html><body><p>no{quote}</body></html>") == ["no"]


def test_html_becomes_lines_as_a_reader_sees_them():
    page = (
        "<div>one&nbsp;<b>two</b>\n three<br>four</div><p>a &lt; b<table><tr><td>x<td>y</table><pre>p\n  q</pre>a<b <"
    )
    assert markup.lines(page) == ["one two three", "four", "a < b", "x y", "p", "q", "a"]


ONE = (Batch(Approve(), None),)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("approve all", ONE),
        ("OK all.", ONE),
        ("discard 3-7", (Batch(Discard(), ((3, 7),)),)),
        ("discard 7 – 3", (Batch(Discard(), ((3, 7),)),)),
        ("approve all but 4", (Batch(Approve(), None, ((4, 4),)),)),
        ("approve all except 4, 6-8", (Batch(Approve(), None, ((4, 4), (6, 8))),)),
        ("reject 2,5 too many links", (Batch(Reject("too many links"), ((2, 2), (5, 5))),)),
        (
            "Reject: #2 and #5: ads\nplease read the rules",
            (Batch(Reject("ads\nplease read the rules"), ((2, 2), (5, 5))),),
        ),
        ("reject all", (Batch(Reject(), None),)),
        (
            "approve 1-3\ndiscard 4\nreject 5 ads",
            (Batch(Approve(), ((1, 3),)), Batch(Discard(), ((4, 4),)), Batch(Reject("ads"), ((5, 5),))),
        ),
        ("approve all\nthanks\nAda", ONE),
        ("approve", Unclear("approve")),
        ("approve 3 please", Unclear("approve 3 please")),
        ("approve 1234567", Unclear("approve 1234567")),
        ("reject 2nd one", Unclear("reject 2nd one")),
        ("all", Unclear("all")),
        ("Hi\napprove all", Unclear("Hi")),
        ("> approve all", Nothing()),
    ],
)
def test_a_summary_is_answered_by_numbers(text: str, meant: tuple[Batch, ...] | Nothing | Unclear):
    assert command.batch(text, None) == meant


def test_a_batch_chooses_only_what_is_there():
    assert Batch(Approve(), None, ((4, 4),)).chosen(5) == (1, 2, 3, 5)
    assert Batch(Approve(), ((0, 2), (2, 3), (9, 999_999))).chosen(10) == (1, 2, 3, 9, 10)
    assert Batch(Approve(), ((7, 9),)).chosen(3) == ()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yes",
        "ok",
        "Ja gern!",
        "Hello,\n\nI am glad to join.\nAda",
        "> no",
        "Bitte bestätigen",
        "thanks\n-- \nno",
        "Norbert",
    ],
)
def test_any_reply_consents(text: str):
    assert command.consent(text, None) is Consent.YES


@pytest.mark.parametrize(
    "text",
    [
        "no",
        "No, thank you.",
        "NEIN!",
        "non merci",
        "cancel",
        "stop",
        "unsubscribe me",
        "Hello,\nI did not ask for this.",
        "I didn’t request that",
        "Leave me alone",
        "Das habe ich nicht bestellt.",
        "Lasst mich in Ruhe",
        "Yo no he pedido esto",
        "Je n'ai rien demandé",
    ],
)
def test_a_no_does_not_consent(text: str):
    assert command.consent(text + "\n\nOn Sunday, Sailing wrote:\n> just reply", None) is Consent.NO


@pytest.mark.parametrize(
    "text",
    [
        "never",
        "NEVER!",
        "Never write to me again.",
        "Hello,\nplease do not write to me",
        "Don’t write to me again",
        "stop emailing me",
        "nie",
        "Nie wieder!",
        "Schreibt mir nie wieder",
        "Guten Tag,\nbitte schreiben Sie mir nicht mehr.",
        "Keine E-Mails mehr!",
    ],
)
def test_never_is_more_than_a_no(text: str):
    assert command.consent(text + "\n\nOn Sunday, Sailing wrote:\n> just reply", None) is Consent.NEVER


@pytest.mark.parametrize("text", ["never mind", "Nie im Leben", "I never asked for this", "Ich war das nie"])
def test_a_never_about_something_else_is_no_wish_never_to_be_written_to(text: str):
    assert command.consent(text, None) is not Consent.NEVER


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("yes\nName: Ada Lovelace\nregion = Kent\n* Country: England", ("Ada Lovelace", "Kent", "England")),
        ("Land: Schweiz\nKanton: Uri\nname: Walter\nname: Wilhelm", ("Walter", "Uri", "Schweiz")),
        ("names: many\nmy country: is large\ncountry:\n> name: quoted", ("", "", "")),
        ("“name:”, and so on\n“region:” and “country:”. Nothing but these", ("", "", "")),
        ("name: " + "x" * 999, ("x" * 200, "", "")),
    ],
)
def test_what_somebody_says_about_himself(text: str, said: tuple[str, str, str]):
    about = command.about(text, None)
    assert tuple(about.get(field, "") for field in ("name", "region", "country")) == said


@pytest.mark.parametrize(
    "text",
    [
        "I am out of the office.",
        "Hallo,\n\nich bin bis Montag im Urlaub.",
        "Automatic reply",
        "**********\nVotre message n'a pas pu etre delivre a\nuserx@example.com\n**********",
        "****** Message from the gateway ******\n\nReceived >>> 550 5.1.1 unknown user.\n\nUnable to deliver",
        "Ihre Nachricht konnte nicht zugestellt werden.",
    ],
)
def test_who_begins_as_a_responder_does_is_away(text: str):
    assert command.away(text, None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yes",
        "Ja!\nIch bin bis Montag im Urlaub.",
        "Yes, I am in!",
        "reject Your last mail could not be delivered; please send it again",
        "Discard\nHe is on vacation, this is an automatic reply",
        "> I am out of the office",
        "a\nb\nc\nd\ne\nout of office",
    ],
)
def test_who_does_not_is_there(text: str):
    assert not command.away(text, None)


BOMBS = {
    "quotes": (">\n" * 131_072, ""),
    "one line": ("x" * 1_000_000, ""),
    "introductions": ("On Sun 1, a\n" * 25_000, ""),
    "half introductions": ("On 22.11. a@b <c@d> wrote\n" * 15_000, ""),
    "labels": ("From: x\n" * 30_000, ""),
    "dashes": ("-" * 262_144, ""),
    "numbers": ("approve 1" + " 1" * 130_000, ""),
    "ranges": ("discard " + "1-" * 130_000, ""),
    "nested blockquotes": ("", "<blockquote>" * 10_000 + "x" + "</blockquote>" * 10_000),
    "open and stray tags": ("", "<div>" * 30_000 + "</p>" * 20_000),
    "less-than signs": ("", "<" * 262_144),
    "tags without end": ("", "<a" * 131_072),
    "comments without end": ("", "<!--" * 65_536),
    "quotes without end": ("", "<a b=\"'" * 32_768),
    "attributes": ("", "<a " + "=" * 262_000),
    "styles": ("", '<p style="' + "border-top:   " * 18_000 + '">'),
    "raw text": ("", "<style>" * 37_000),
    "entities": ("", "&#" + "1" * 200_000 + ";" + "&" * 60_000),
    "lines": ("", "<pre>" + "\n" * 262_000),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_costs_less_than_two_seconds(name: str):
    plain, html = BOMBS[name]
    start = time.process_time()
    command.decision(plain, html)
    command.batch(plain, html)
    command.consent(plain, html)
    command.about(plain, html)
    command.away(plain, html)
    assert time.process_time() - start < 2


WORDS = st.sampled_from(
    [
        *(
            "approve",
            "reject",
            "no",
            "all",
            "but",
            "3-7",
            "On Sun, Nov 22",
            "wrote:",
            "> ",
            ">",
            "-- ",
            "From: ",
            "Sent: ",
        ),
        *(
            "To: ",
            "\n",
            "\r\n",
            " ",
            "<",
            ">",
            "<div>",
            "</div>",
            "<blockquote>",
            "</blockquote>",
            "<br>",
            "<!--",
            "-->",
        ),
        *('<div class="gmail_quote">', "<pre>", "&nbsp;", "&#1114112;", "&#x;", "_" * 12, "-----Original Message-----"),
        *("a@b <c@d>:", "22.11.", "\ud800", "\x00", "\u2028", "\ufeff", "1,2,", "#", "写道："),
    ]
)
TEXT = st.one_of(st.text(max_size=200), st.lists(WORDS, max_size=40).map("".join))


@given(TEXT, TEXT)
def test_nothing_that_can_be_written_raises(plain: str, html: str):
    said = command.decision(plain, html)
    assert not isinstance(said, Reject) or said.reason.isprintable() or "\n" in said.reason
    command.batch(plain, html)
    assert command.consent(plain, html) in Consent
    assert set(command.about(plain, html)) <= {"name", "region", "country"}
    command.away(plain, html)


@given(st.lists(st.sampled_from([*NOTICE.split("\n"), "", *INTRODUCTIONS]), max_size=20))
def test_whatever_is_quoted_line_by_line_the_answer_above_it_stands(quoted: list[str]):
    quote = "\n".join(f"> {line}" for line in "\n".join(quoted).splitlines())
    assert command.decision(f"reject off topic\n\n{quote}\n", None) == Reject("off topic")
    assert command.decision(f"{quote}\n\napprove\n", None) == Approve()


@given(st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=60))
def test_only_our_words_decide(line: str):
    said = command.decision(line, None)
    if isinstance(said, Approve | Discard | Undo):
        letters = "".join(c for c in line.lower() if c.isalnum())
        assert letters in {"approve", "ok", "yes", "accept", "discard", "spam", "undo"}


@pytest.mark.parametrize(
    ("said", "his"),
    [
        ("", {1, 2, 3}),
        ("yes", {1, 2, 3}),
        ("These are mine, thanks", {1, 2, 3}),
        ("yes 1,3", {1, 3}),
        ("Yes 2-9", {2, 3}),
        ("yes all but 2", {1, 3}),
        ("ok 7", set()),
        ("yes 1\nyes 3", {1, 3}),
        ("no", set()),
        ("That wasn't me!", set()),
        ("Nein", set()),
        ("> yes 1", {1, 2, 3}),
    ],
)
def test_of_the_posts_in_his_name_an_author_says_which_are_his(said: str, his: set[int]) -> None:
    assert command.own(said, None, 3) == his
