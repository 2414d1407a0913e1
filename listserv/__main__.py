"""`python -m listserv` is the command `listserv`."""

from listserv.cli.main import main

if __name__ == "__main__":
    main(prog_name="listserv")
