"""The map of the house.

The folder says what code may do; the form of a name says its layer: `model/post` is a thing, `store/posts` a heap
of them, `flows/posting` an act, `workers/distributor` an agent.  How a message travels: docs/flow.md.

    settings/        what the operator decides: TOML and environment → one frozen tree
        __init__     every section and key with its default; NOT_YET; combinations that cannot work
        kinds        what a value may be, and how it is read
        read         file and environment → the tree, or every fault at once
    access_log/      what people do here, one JSON line each, kept for a limited time
        line         who did what, when and from where, as one line
        events       one typed function per event, and no other way to a line
        journal      its files: by day and size, compressed, deleted in time
    files            who owns what we write, and when it is on the disk
    texts            the wording of notices and pages: config/templates/<language>/
    keyring          DKIM keys as files, made and rotated
    hooks            Feature: what a feature may add

    model/           WORDS: values only
        account      people, mailboxes, a mailbox's place in a group
        address      e-mail addresses, judged once and strictly
        delivery     one edition to one mailbox; Sent, Deferred, Failed
        envelope     who brought a message, for whom, and what we answer
        group        groups and their Policy
        post         messages to a group; Accept, Hold, Reject, Discard
        request      what people ask for by mail, as values, and its one spelling of ours
        setting      settings as people write them: moderated=yes
        token        a stored single-use right to one action
        consent      what membership came from, on record
    mail/            FORMS: mail by its RFCs, bytes in, bytes out, pure
        message      a message as it came, and where its header fields stand
        mime         its parts and where they stand
        mailbox      mailboxes in From, To and Cc
        words        encoded words and character sets
        recipient    what an address of ours means: group, door, tag
        automatic    is it a machine's?
        trace        Received, hops, the loop guard, a missing Date or Message-ID
        header       List-* and all other header lines that are ours; the subject tag
        alignment    whose From a post bears: never a changed one that DMARC would have lost
        footer       what is added below a post; splice: into a part of somebody else's
        harmless     HTML that may stand in other people's mail
        signature    DKIM: hashed once an edition, signed once a copy
        evidence     who is this? SPF, DKIM and DMARC of a message, weighed
        spf dkim dmarc
                     one standard a module, evaluated over what the DNS has said
        results      Authentication-Results, read and written
        lookups      questions to the DNS and what it says, as values
        tag          unguessable words: return paths, leave links, tokens
        notice       messages of our own
        report       bounces as values; blame: what a refusal is about
        command      what a reply says: approve, reject, yes, no …
        request      what a mail of commands asks for, in the words of every list server; options: those of `set`
        quoting      what somebody wrote himself in a reply; markup: the same in HTML; phrases: clients and languages
    rules/           JUDGEMENT: facts → verdict, pure
        __init__     RULES, in the order in which they are heard
        judge        Facts, and the hearing
        authors      rules about who wrote it
        content      rules about what was sent and how it came
        pace         the rule about how fast one author posts
    store/           MEMORY: all SQL there is, as functions of a transaction
        db           the one way to the database
        bells turn   who hears of a commit; whose turn it is to write
        engines      how SQLite and PostgreSQL are opened; dialects: what they are told in different words
        rows large   the statements of every post, said past SQLAlchemy; values of a megabyte and more
        schema       the tables; migrations/: how they came about; upgrade: to the schema of this program
        queue        tables as queues: claim, settle, the crash table
        groups accounts persons rolls posts holds editions deliveries tokens jobs ads bounces
                     one module a heap; persons: accounts united and divided; rolls: members by the thousand
        facts        what is known of a post before it is judged, in one question
        budgets      how often somebody was written to
        requests     what somebody is to be asked; objections: who wants no mail; buckets: how much was asked for
        consents     the record of consent, a chain of digests
        journal      rows on their way to the access log, the trace and the counts
        tracing waiting health
                     what `trace`, `queue` and `check` look at
        ledger       the accounts of posts and copies: nothing is ever lost
        aside        what our own code failed on; outage: what is nobody's fault
        restored     what a restored database has brought along, and how an old one is known
        secrets      secrets and switches that all nodes share
    flows/           ACTS: what people do with a group; each is one transaction, and none can wait
        site         what an act needs besides its transaction
        reading      a message understood once
        receiving    which door it is for, and the transaction that takes it
        posting      a post is judged and written down
        holding      what waits for an admin, and who is asked
        moderating   decided, taken back, expired
        asking       questions; budgeting: whose budget they are; objecting: who wants none; guessing: who tries tokens
        confirming   the answers: agreeing: what a yes is and does; deciding: what an admin's reply decides
        joining      in and out; consenting: on record
        vouching     is a post his? its author is asked; believing: his answer
        answering    help, owners, operators
        commanding   mails of commands: who may, and one answer
        obeying      what becomes of one command
        addressing   several mailboxes of one person; the end of all open rights
        telling      what a person may know: of himself, and of a group
        bouncing     what bounces are charged to
        notifying    a template becomes a mail
        distributing a post becomes an edition and deliveries
        delivering   stamps, outcomes, the retry ladder
        expiring     what time does: the periodic jobs
        governing    groups and members as the shell sees to them; roster: lists of people as files
        operating    the queue as the operator sees to it
        restoring    what may have been sent before a database was restored is held
        setting_aside
                     poison: tried three times, then out of the way
    net/             WIRE: the only code that waits on the network; knows no SQL
        listener     the doors for SMTP and LMTP; sockets: where they listen
        doorway      what several processes share there
        gate         who may come in, how long, and how much: Limits
        connection   one connection; session: its verbs; grammar: what may be said; replies: what we say
        content      DATA in constant memory; shares: what one of many clients gets of memory and time
        lanes        whose turn it is where there is not enough for all
        house        what sessions ask of the rest of the house
        relay        copies to the next hop, by kept connections; routes: which hop
        dialling     connection, TLS, EHLO, AUTH; dialogue: the pipelined session; transaction: what its answers mean
        authenticator
                     asks the DNS what mail.evidence wants to know, within its time
        resolver     the DNS: cached, shared, never waited for when it is dead
        lookup probe DNS and ports, for `check`
    workers/         HANDS: the only code that sees both store and wire
        reception    the listener's questions, answered from the database
        distributor  due posts → editions and deliveries
        deliverer    due deliveries → copies; recorder: their outcomes, at the latest every 16
        hand         how much a deliverer claims, and how long it is surely his; editions: the few bodies he keeps
        turns        which destination's turn it is, and how many copies to each may be under way
        watermark    how far the database had come, kept beside it
        clerk        rows of the access log → its files
        clock        periodic jobs
        cell         a process with limits, for work that may not end
        loop         work, rest, and the bell
    web/             PAGES: the same acts, another door
        app          all pages; kit: what they share; server: HTTP in our event loop
        oneclick     the page behind the one-click link; confirm: behind a question
    features/        ROOMS that hang on hooks
        ads          one ad below each post
    node             settings → database, secrets, keys, texts, features: where daemon and shell begin
    daemon           the composition root: a running node, until SIGTERM
    roles            who does what: smtp, delivery, web; the parts that several processes have in a role
    process          what a process wants of its kernel, its event loop and systemd
    supervisor       one parent for the several processes of a node
    cli/             COMMANDS: the same acts, a third door
        main         finds configuration and command, says every fault in one line
        running setting_up checking checkup group member rolls hold queue trace message log ad dkim database
                     one module a command: run, init, check (looks at: checkup), explain and post (message), db …;
                     rolls: members by the thousand
        naming show  what is named on the command line; tables and JSON
    demo             scripts/run --demo

Who may know whom, held by the contracts in pyproject.toml; arrows only to the right, “|” are siblings that do not
know each other:

    demo → cli → supervisor → daemon → node | process | roles → keyring → features → web | workers → flows | net
         → hooks → rules | store → mail → texts → access_log → files | settings → model
"""
