"""SPF by its own test suite (tests/net/rfc7208): every scenario's zone on a real name server, every message through us.

What is not compared are explanations: nobody reads them, so they are not fetched.
"""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.kit.nameserver import Nameserver, nameserver
from tests.net.checking import checks, letter, result

SCENARIOS = list(yaml.safe_load_all((Path(__file__).parent / "rfc7208" / "rfc7208-tests.yml").read_text("utf-8")))


def load(dns: Nameserver, zone: dict[str, list[Any]]) -> None:
    """SPF records stand for TXT records of the same text; TIMEOUT is a name server that fails about all other types."""
    for name, entries in zone.items():
        key = name.lower().removesuffix(".")
        rows = [next(iter(entry.items())) for entry in entries if isinstance(entry, dict)]
        has_txt = any(kind == "TXT" for kind, _ in rows)
        rows = [("TXT" if kind == "SPF" else kind, data) for kind, data in rows if kind != "SPF" or not has_txt]
        for kind, data in rows:
            if data == "TIMEOUT":
                dns.failing_kinds.setdefault(key, set()).add(kind)
            elif data != "NONE":
                dns.records.setdefault((key, kind), []).append(written(kind, data))
        if "TIMEOUT" in entries:
            known = {kind for kind, data in rows if data != "NONE"}
            dns.failing_kinds.setdefault(key, set()).update({"TXT", "A", "AAAA", "MX", "PTR"} - known)


def written(kind: str, data: Any) -> str:
    """As in a zone file, where one string has 255 octets at most."""
    if kind == "TXT":
        strings = [data] if isinstance(data, str) else data
        pieces = [each[at : at + 255] for each in strings or [""] for at in range(0, max(1, len(each)), 255)]
        return " ".join(f'"{escaped(each)}"' for each in pieces)
    if kind == "MX":
        return f"{data[0]} {data[1] or '.'}"
    return str(data) or "."


def escaped(text: str) -> str:
    octets = text.encode("utf-8")
    return "".join(chr(o) if 32 <= o < 127 and chr(o) not in '"\\;' else f"\\{o:03}" for o in octets)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=[each["description"] for each in SCENARIOS])
async def test_every_result_is_as_the_suite_says(scenario: dict[str, Any]) -> None:
    wrong = []
    with nameserver() as dns:
        load(dns, scenario["zonedata"])
        async with checks(dns) as here:
            for name, case in scenario["tests"].items():
                wanted = [case["result"]] if isinstance(case["result"], str) else case["result"]
                evidence = await here.say(
                    letter("nobody@elsewhere.test"), case["mailfrom"], ip=case["host"], helo=case["helo"]
                )
                if result(evidence, "spf") not in wanted:
                    wrong.append(f"{name}: {evidence.why[0]}, not {' or '.join(wanted)}")
    assert not wrong
