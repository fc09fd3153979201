"""Damage to files as disks, editors and ill will do it, from a seed."""

import json
from random import Random
from typing import Any

NASTY: list[Any] = [
    None, True, -1, 0, 10**9, 10**400, 0.5, 1e308, "", "x", "\n\x1b[2J\x00", "9" * 5000, [], {}, [[]], {"a": 1},
    [None] * 100, "../../etc/passwd", "last", "ham", "a" * 64,
]  # fmt: skip


def mutated(content: bytes, random: Random) -> bytes:
    """The content with one thing wrong somewhere."""
    if content.startswith(b"{") and random.random() < 0.5:
        if b"}\n{" in content:  # JSON Lines
            lines = content.splitlines()
            at = random.randrange(len(lines))
            return b"\n".join([*lines[:at], _mutated_json(lines[at], random), *lines[at + 1 :], b""])
        return _mutated_json(content, random)
    at = random.randrange(len(content))
    end = min(len(content), at + random.choice((1, 2, 10, 100)))
    some = random.randbytes(random.choice((1, 4, 50)))
    changes = (
        lambda: content[:at],  # truncated
        lambda: content[:at] + bytes([content[at] ^ 1 << random.randrange(8)]) + content[at + 1 :],  # a bit
        lambda: content[:at] + content[end:],  # lost
        lambda: content[:at] + content[at:end] * 2 + content[end:],  # repeated
        lambda: content[:at] + some + content[at:],  # inserted
        lambda: content[:at] + some + content[at + len(some) :],  # overwritten
        lambda: content[:at] + bytes(end - at) + content[end:],  # zeroed
        lambda: (
            content[:at]
            + random.choice((b'"', b"\t", b"\n", b",", b"\\", b"\xff", b"[" * 2000))
            + content[at:]
        ),
    )
    return random.choice(changes)()


def _mutated_json(content: bytes, random: Random) -> bytes:
    """One value lost, replaced by another, or added, anywhere in a JSON object."""
    values = json.loads(content)
    place, key = values, random.choice(list(values))
    while isinstance(place[key], dict | list) and place[key] and random.random() < 0.7:
        place = place[key]
        key = random.choice(list(place)) if isinstance(place, dict) else random.randrange(len(place))
    kind = random.randrange(4)
    if kind == 0:
        del place[key]
    elif kind == 1 and isinstance(place, dict):
        place[f"{key}x"] = random.choice(NASTY)
    else:
        place[key] = random.choice(NASTY)
    return json.dumps(values).encode()
