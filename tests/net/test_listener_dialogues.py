"""Runs the sessions of tests/dialogues/*.txt (their language: tests/dialogues/README.md)."""

from pathlib import Path

import pytest

from tests.net.listening import Client, Doors, doors

DIALOGUES = sorted((Path(__file__).parent.parent / "dialogues").glob("*.txt"))


async def step(here: Doors, client: Client, line: str) -> None:
    kind, text = line[:2], line[2:].strip(" ")
    match kind:
        case "C:":
            await client.write(text.encode() + b"\r\n")
        case "C>":
            await client.write(text.encode().decode("unicode_escape").encode("latin-1"))
        case "S:" if text == "(closed)":
            assert await client.reader.read() == b""
        case "S:":
            said = (await client.reader.readline()).decode().removesuffix("\r\n")
            assert said.startswith(text[:-1]) if text.endswith("…") else said == text, f"{line!r}, but it said {said!r}"
        case "H:":
            assert len(here.house.messages) == int(text.split()[0])
        case _:
            pytest.fail(f"not in the language of dialogues: {line!r}")


@pytest.mark.parametrize("path", DIALOGUES, ids=lambda path: path.stem)
async def test_the_dialogue_goes_as_written(path):
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    door = int(lines[0] == "door lmtp")
    async with doors() as here:
        client = await here.connect(door)
        for line in lines[door:]:
            await step(here, client, line)


def test_there_are_dialogues():
    assert len(DIALOGUES) >= 6
