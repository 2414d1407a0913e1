"""What mail clients write into replies, by language: tables for `mail.quoting`, all in lower case.

A new language or client is a word in a table here.  The comparison is by whole words after
folding (lower case, one blank between words); only where a script has no blanks, by substring.
"""

from listserv.model.request import EVERY


def each(words: str) -> frozenset[str]:
    """The words as a set."""
    return frozenset(words.split())


AROUND = "\"'“”„‘’`<>()[],;:!._*"  # punctuation that people put around a word


def bare(word: str) -> str:
    """A word in lower case, without the punctuation around it."""
    return word if word == EVERY else word.lower().strip(AROUND)


# What an admin's answer may begin with, and what it means (INTERFACE.md §5).
APPROVE = each("approve ok yes accept")
DISCARD = each("discard spam")
REJECT = each("reject deny")  # alone, or followed by the reason
REFUSE = frozenset(["no"])  # alone only: a rejection without a reason
UNDO = frozenset(["undo"])
ANSWERS = APPROVE | DISCARD | REJECT | REFUSE | UNDO

# First word of a line that introduces a quote: “On Sunday …”, “Am 22.11. …”, “W dniu …”, “вс, 22 нояб. …”.
OPENERS = each(
    "on in at am le il el em op den på w dnia dne wiadomość во в 在 於 于"
    " so søn man tir ons tor fre lør sön mån tis lör niedz pon wt śr czw pt sob пн вт ср чт пт сб вс"
    " воскресенье понедельник вторник среда четверг пятница суббота"
    " sun mon tue wed thu fri sat mo di mi do fr sa dom lun mar mer mié jeu gio jue ven vie sab sáb dim"
    " su ma ti ke to pe la ne út st čt pá"
)

# The verb of such a line, as the words that may stand in it.
WROTE = each(
    "wrote writes schrieb geschrieben escribió escribio écrit ecrit scritto scrive escreveu schreef geschreven skrev"
    " skriver napisał napisała napisał(a) napisano napisana pisze писал писала написал написала написал(а) пишет"
    " kirjoitti napsal napsala napsal(a) odesílatel írta yazdı scris пише"
)
# The same in scripts without blanks between words.
WROTE_INSIDE = ("写道", "寫道", "書きました", "のメール")

# “-----Original Message-----”, by what stands between the dashes; everything below is quoted.
ORIGINAL = frozenset(
    (
        "original message",
        "original email",
        "original appointment",
        "reply message",
        "forwarded message",
        "ursprüngliche nachricht",
        "originalnachricht",
        "original-nachricht",
        "originale nachricht",
        "weitergeleitete nachricht",
        "mensaje original",
        "mensaje reenviado",
        "message d'origine",
        "message original",
        "message initial",
        "message transféré",
        "messaggio originale",
        "messaggio inoltrato",
        "mensagem original",
        "mensagem encaminhada",
        "oorspronkelijk bericht",
        "oorspronkelijke bericht",
        "doorgestuurd bericht",
        "ursprungligt meddelande",
        "originalmeddelande",
        "vidarebefordrat meddelande",
        "oprindelig meddelelse",
        "original meddelelse",
        "videresendt meddelelse",
        "opprinnelig melding",
        "videresendt melding",
        "oryginalna wiadomość",
        "wiadomość oryginalna",
        "wiadomość przekazana",
        "исходное сообщение",
        "оригинальное сообщение",
        "пересылаемое сообщение",
        "元のメッセージ",
        "原始邮件",
        "原始郵件",
        "原邮件",
        "转发邮件",
    )
)
# Without dashes: Apple Mail's way to forward.
FORWARDED = frozenset(
    (
        "begin forwarded message",
        "anfang der weitergeleiteten nachricht",
        "inicio del mensaje reenviado",
        "début du message réexpédié",
        "début du message transféré",
        "inizio messaggio inoltrato",
        "início da mensagem encaminhada",
        "begin doorgestuurd bericht",
    )
)

# Labels of the block that Outlook and others put above a quote.
FROM = each("from von de da van från fra od от отправитель 差出人 发件人 寄件者 寄件人")
OTHER = each(
    "sent date to cc subject reply-to gesendet datum an betreff kopie antwort enviado fecha para asunto"
    " envoyé à objet inviato data a oggetto assunto verzonden aan onderwerp skickat till ämne sendt til emne"
    " wysłano do dw temat отправлено дата кому копия тема 送信日時 日時 宛先 件名 发送时间 日期 时间 收件人 抄送 主题"
    " 寄件日期 傳送時間 收件者 主旨"
)

# A mobile signature, by its first words.
MOBILE = (
    "sent from my",
    "sent from mail for windows",
    "sent from outlook",
    "sent from yahoo mail",
    "sent from proton mail",
    "sent from protonmail",
    "sent with proton mail",
    "sent with protonmail",
    "sent via",
    "sent using",
    "get outlook for",
    "get bluemail for",
    "yahoo mail: search, organize",
    "von meinem",
    "von meiner",
    "gesendet von meinem",
    "gesendet von mail für windows",
    "gesendet von outlook",
    "gesendet von yahoo",
    "gesendet mit",
    "diese nachricht wurde von meinem",
    "outlook für android",
    "outlook für ios",
    "holen sie sich outlook für",
    "laden sie outlook für",
    "enviado desde",
    "enviado do meu",
    "enviado a partir",
    "enviado con",
    "obtener outlook para",
    "obter o outlook para",
    "obtén outlook para",
    "descargar outlook para",
    "envoyé de mon",
    "envoyé depuis",
    "envoyé à partir",
    "envoyé avec",
    "télécharger outlook pour",
    "obtenir outlook pour",
    "obtenez outlook pour",
    "inviato da",
    "ottieni outlook per",
    "scarica outlook per",
    "verzonden vanaf mijn",
    "verstuurd vanaf mijn",
    "outlook voor",
    "download outlook voor",
    "skickat från",
    "skickades från",
    "hämta outlook för",
    "skaffa outlook för",
    "sendt fra min",
    "hent outlook",
    "få outlook",
    "skaff deg outlook",
    "wysłane z",
    "pobierz outlook",
    "отправлено с",
    "отправлено из",
    "iphoneから送信",
    "ipadから送信",
    "从我的",
    "發自我的",
    "发自我的",
    "從我的",
    "获取 outlook for",
)

# The line that closes a letter, before the name; what follows is a signature without its dashes.
VALEDICTIONS = frozenset(
    (
        "regards",
        "best regards",
        "kind regards",
        "warm regards",
        "with kind regards",
        "best",
        "best wishes",
        "cheers",
        "sincerely",
        "yours sincerely",
        "mit freundlichen grüßen",
        "mit freundlichen grüssen",
        "mit freundlichem gruß",
        "freundliche grüße",
        "viele grüße",
        "beste grüße",
        "liebe grüße",
        "herzliche grüße",
        "schöne grüße",
        "gruß",
        "grüße",
        "mfg",
        "lg",
        "vg",
        "saludos",
        "un saludo",
        "saludos cordiales",
        "cordialmente",
        "atentamente",
        "cordialement",
        "bien cordialement",
        "bien à vous",
        "amicalement",
        "salutations",
        "cordiali saluti",
        "saluti",
        "atenciosamente",
        "met vriendelijke groet",
        "groeten",
        "med vänliga hälsningar",
        "med venlig hilsen",
        "med vennlig hilsen",
        "pozdrawiam",
        "с уважением",
    )
)

# A reply to a request for consent says no when it begins with one of these, or says one of those anywhere near.
REFUSALS = each(
    "no nope not never cancel stop reject rejected deny decline refuse unsubscribe remove discard spam abuse"  # en
    " nein nicht abbrechen ablehnen abgelehnt abmelden stopp niemals"  # de
    " cancelar cancela rechazar rechazo nunca"  # es
    " non annuler annulez refuser refuse refusé jamais désabonner"  # fr
    " annulla rifiuto não nao nee nej nei nie нет"
)
OBJECTIONS = (
    *("did not ask", "didn't ask", "did not request", "didn't request", "did not sign up", "didn't sign up"),
    *("did not subscribe", "didn't subscribe", "never asked", "never subscribed", "never signed up", "wasn't me"),
    *("was not me", "leave me alone", "not interested", "remove me", "unsubscribe me", "don't want", "do not want"),
    *("do not confirm", "don't confirm", "don't subscribe", "do not subscribe"),
    *("nicht angefordert", "nicht angemeldet", "nicht bestellt", "kein interesse", "in ruhe", "war ich nicht"),
    *("möchte nicht", "will nicht", "möchte das nicht", "will das nicht", "bitte nicht"),
    *("no he pedido", "no he solicitado", "no lo he pedido", "no solicité", "no pedí", "no quiero", "no fui yo"),
    *("no me interesa", "déjame en paz", "déjenme en paz", "no me he suscrito", "no estoy interesad"),
    *("n'ai pas demandé", "n'ai rien demandé", "ne veux pas", "ne souhaite pas", "laissez-moi", "pas intéressé"),
    *("n'est pas moi", "n'était pas moi", "ne suis pas intéressé"),
)

# A yes in other words than an admin's.
YES = frozenset(
    ("ja", "ja bitte", "ja gern", "gern", "yes please", "confirm", "confirmed", "sí", "si", "oui", "sì", "tak")
)

# What responders say in their first lines.  A person who says yes to a question does not begin with any of it.
AWAY = (
    *("out of the office", "out of office", "on vacation", "on annual leave", "on parental leave", "on sick leave"),
    *("on holiday", "away from the office", "away from my desk", "away from my email", "limited access to email"),
    *("automatic reply", "automated reply", "auto-reply", "autoreply", "automatic response", "automated response"),
    *("automatically generated", "this mailbox is not monitored", "no longer works for", "no longer with the company"),
    *(
        "nicht im büro",
        "nicht im hause",
        "nicht am arbeitsplatz",
        "im urlaub",
        "in elternzeit",
        "abwesend",
        "außer haus",
    ),
    *("automatische antwort", "automatische nachricht", "automatisch erstellt", "automatisch generiert"),
    *("wird nicht gelesen", "nicht mehr bei uns", "nicht mehr im unternehmen"),
    *("absent du bureau", "absente du bureau", "je suis absent", "en congé", "réponse automatique", "en vacances"),
    *("fuera de la oficina", "de vacaciones", "respuesta automática", "estaré ausente", "estoy ausente"),
    *("fuori ufficio", "fuori sede", "in ferie", "risposta automatica", "sono assente"),
    *("afwezig", "niet op kantoor", "met vakantie", "automatisch antwoord", "op vakantie"),
    *("fora do escritório", "de férias", "resposta automática", "poza biurem", "na urlopie", "automatyczna odpowiedź"),
    *("på semester", "på ferie", "frånvarande", "automatiskt svar", "автоматический ответ", "в отпуске", "не в офисе"),
    *("不在にして", "自動返信", "自动回复", "外出中", "休暇中"),
)

# What mail systems say there of a mail that came back, some of them from an address like a person's.
RETURNED = (
    *("could not be delivered", "couldn't be delivered", "was not delivered", "not be delivered to", "undeliverable"),
    *("delivery failed", "delivery has failed", "delivery failure", "user unknown", "unknown user", "no such user"),
    *("mailbox is full", "mailbox full", "over quota", "address rejected"),
    *("konnte nicht zugestellt", "nicht zustellbar", "unzustellbar", "postfach ist voll"),
    *("pas pu être délivré", "pas pu etre delivre", "pas pu être remis", "no se ha podido entregar"),
    *("no se pudo entregar", "impossibile recapitare", "non può essere recapitato", "kon niet worden bezorgd"),
)

# “Never write to me again”: the whole of a line, or how it begins.  Without punctuation; `'` falls away, too.
NEVER_ALONE = frozenset(
    ("never", "nie", "niemals", "nie wieder", "nie mehr", "nunca", "nunca más", "jamais", "mai più")
)
NEVER = frozenset(
    (
        *("never again", "never write", "never contact", "never mail", "never email", "never send", "please never"),
        *("do not write", "dont write", "do not contact", "dont contact", "do not mail me", "dont mail me"),
        *("do not email me", "dont email me", "stop writing", "stop mailing", "stop emailing"),
        *("please do not write", "please dont write", "please do not contact", "please dont contact"),
        *("nie wieder schreiben", "schreibt mir nie", "schreiben sie mir nie", "schreib mir nie", "schreibt mir nicht"),
        *("schreiben sie mir nicht", "bitte nie wieder", "bitte nie mehr", "bitte schreibt mir nie"),
        *("bitte schreiben sie mir nie", "bitte schreibt mir nicht", "bitte schreiben sie mir nicht"),
        *(
            "keine mails mehr",
            "keine e mails mehr",
            "keine emails mehr",
            "keine weiteren mails",
            "bitte keine mails mehr",
        ),
    )
)

# What somebody may say about himself in a reply, and the field that it is about.
ABOUT = {
    **dict.fromkeys(("name", "my name"), "name"),
    **dict.fromkeys(("region", "state", "province", "bundesland", "kanton"), "region"),
    **dict.fromkeys(("country", "land", "staat"), "country"),
}
