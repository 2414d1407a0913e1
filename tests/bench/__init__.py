"""The benchmark behind `scripts/bench`.

bench       from the command line to the report
plan        which cases are measured
case        what is measured, and what came out
measure     one run of one case
truth       did everybody get one copy, and is it what it should be
crowd       the people and their mail
load        posts by SMTP or LMTP; sink: where copies end; names: DNS for the authors
program     what a program under measurement is; product: listserv
usage       processor time and memory, from the kernel
report      tables and JSON
"""
