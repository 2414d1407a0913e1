"""The benchmark behind `scripts/bench`.

bench       the command line
plan        which cases are measured
rounds      all their runs, round after round
case        what is measured, and what came out
measure     one run of one case
truth       did everybody get one copy, and is it what it should be
crowd       the people and their mail
load        posts by SMTP or LMTP; sink: where copies end; names: DNS for the authors
program     what a program under measurement is; product: listserv; postfix, mlmmj, mailman: others
usage       processor time and memory, from the kernel
bounds      what is promised
report      tables, JSON, the page; plot: its picture
"""
