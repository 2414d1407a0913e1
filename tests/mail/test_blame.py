"""Refusals as receivers write them, and what they are about."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listserv.mail import blame
from listserv.mail.blame import Blame

MESSAGE = (
    # Gmail
    "550 5.7.26 Unauthenticated email from a.example is not accepted due to domain's DMARC policy. Please contact the "
    "administrator of a.example domain. https://support.google.com/mail/answer/2451690 - gsmtp",
    "550 5.7.1 [192.0.2.1 12] Our system has detected that this message is likely unsolicited mail. - gsmtp",
    "552 5.7.0 This message was blocked because its content presents a potential security issue. - gsmtp",
    "552 5.2.3 Your message exceeded Google's message size limits. - gsmtp",
    "550 5.7.25 The IP address sending this message does not have a PTR record setup - gsmtp",
    # Microsoft
    "550 5.7.515 Access denied, sending domain lists.example doesn't meet the required authentication level.",
    "550 5.7.509 Access denied, sending domain a.example does not pass DMARC verification and has a policy of reject.",
    "550 5.7.1 Unfortunately, messages from [192.0.2.1] weren't sent. Its network is on our block list (S3150).",
    "550 5.7.708 Service unavailable. Access denied, traffic not accepted from this IP.",
    "550 5.2.3 RESOLVER.RST.RecipSizeLimit; message too large for this recipient",
    "550 5.6.11 SMTPSEND.BareLinefeedsAreIllegal; message contains bare linefeeds",
    # Yahoo, AOL
    "554 5.7.9 Message not accepted for policy reasons. See https://postmaster.yahooinc.com/error-codes",
    "553 5.7.1 [BL21] Connections will not be accepted from 192.0.2.1, because the ip is in Spamhaus's list",
    "554 Message not allowed - [PH01] Email not accepted for policy reasons.",
    # T-Online, GMX and Web.de
    "554 IP=192.0.2.1 - A problem occurred. (Ask your postmaster for help or to contact tosa@rx.t-online.de)",
    "550 5.7.0 Message considered as spam or virus, rejected",
    "550 Requested action not taken: mailbox unavailable; Reject due to policy restrictions.",
    "554 Transaction failed; Reject due to policy restrictions. For explanation visit https://postmaster.gmx.net/",
    # others
    "554 5.7.1 [HM08] Message rejected due to local policy. Please visit https://support.apple.com/en-us/HT204137",
    "550 spam message rejected. Please visit http://help.mail.ru/notspam-support/id?c=x",
    "554 DT:SPM 163 smtp10, please see http://mail.163.com/help/help_spam_16.htm",
    "550 Mail content denied. https://service.mail.qq.com/detail/122/171",
    "554 5.7.0 Reject, id=12345-01 - spam",
    "550 permanent failure for one or more recipients (bob@b.example:blocked)",
    "554 Email rejected due to security policies - https://community.mimecast.com/docs/DOC-1369#554",
    "554 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org",
    "550 Administrative prohibition",
    "552 5.3.4 Message size exceeds fixed limit",
    "552 5.3.4 Error: message file too big",
    "550 5.1.0 <walkers-bounces+x@lists.example>: Sender address rejected",
    "550 5.1.0 Authentication required",
    "550 5.1.1 Message blocked: spam content",
    "gave up after 5 days: 421 4.7.28 Our system has detected an unusual rate of unsolicited mail",
)
MAILBOX = (
    "550 5.1.1 The email account that you tried to reach does not exist. Please try double-checking. - gsmtp",
    "550 5.1.1 <bob@b.example>: Recipient address rejected: User unknown in virtual mailbox table",
    "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup",
    "550 5.1.1 unknown or illegal alias: bob@icloud.example",
    "550 5.1.1 User unknown; why: https://b.example/spam-policy",
    "550 5.1.2 Host unknown",
    "550 5.1.1 gone",
    "550 5.1.0 Address rejected",
    "553 5.1.3 The recipient address is not a valid RFC-5321 address",
    "550 #5.1.1 no such mailbox",
)
NOBODY = (
    "552 5.2.2 The recipient's inbox is out of storage space and inactive. - gsmtp",
    "550 5.2.1 The email account that you tried to reach is disabled. - gsmtp",
    "550 5.4.1 Recipient address rejected: Access denied. [X.prod.outlook.com]",
    "550 5.5.0 Requested action not taken: mailbox unavailable (S2017062302).",
    "554 delivery error: dd This user doesn't have a yahoo.com account (bob@yahoo.com) [-5]",
    "550 Requested action not taken: mailbox unavailable",
    "550 5.1.8 <x@lists.example>: Sender address rejected: Domain not found",
    "550 5.1.7 bad reverse path",
    "550 no",
    "gave up after 5 days: 452 4.2.2 mailbox full",
    "gave up after 5 days: the connection was refused",
    "gave up after 5 days: 450 4.1.1 unknown for now",
    "",
)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [(reply, who) for who, replies in zip(Blame, (MAILBOX, MESSAGE, NOBODY), strict=True) for reply in replies],
)
def test_a_refusal_is_charged_to_what_it_is_about(reply: str, expected: Blame) -> None:
    assert blame.of_reply(reply) is expected


@given(st.sampled_from(["5.7.1", "5.7.26", "5.6.0", "5.2.3", "5.3.4", "4.7.0"]), st.text(max_size=200))
def test_no_words_make_a_policy_the_mailboxs_fault(status: str, text: str) -> None:
    assert blame.of(status, text) is Blame.MESSAGE
    assert blame.of_reply(f"550 {status} {text}") is Blame.MESSAGE


@given(st.text(max_size=300))
def test_whatever_is_said_is_about_something(text: str) -> None:
    blame.of_reply(text)
    blame.of_reply(f"550 {text}")


def test_long_replies_take_no_time() -> None:
    begun = time.process_time()
    for text in ("550 " + "exceeds a b c " * 20_000, "550 " + "not " * 50_000, "gave up after " + "x" * 100_000):
        blame.of_reply(text)
    assert time.process_time() - begun < 2
