"""What makes the report's page more than a text: its style, its scripts, and the policy that holds it to them.

The page is one file that loads nothing: style and scripts are written into it, and its policy lets the browser run
what has these very hashes and request nothing at all. Without scripts it says the same, with matplotlib's pictures.
"""

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
# In this order, as one script; each file may use those before it.
SCRIPTS = (
    "base", "controls", "table", "axes", "along", "scatter", "intervals", "bars", "curves", "lines", "start",
)  # fmt: skip


def style() -> str:
    """The page's style sheet."""
    return (FOLDER / "style.css").read_text(encoding="utf-8")


def script() -> str:
    """The page's script: one function around all files, so that nothing else on the page sees their names."""
    parts = [(FOLDER / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS]
    return '(() => {\n"use strict";\n' + "\n".join(parts) + "})();\n"


def policy(style: str, script: str) -> str:
    """The Content-Security-Policy of a page with this style and this script: nothing else runs or is requested."""
    return (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'"
    )


def embedded(content: Any) -> str:
    """``content`` as JSON that may stand inside a script element: no character there ends it or starts markup."""
    text = json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return re.sub(r"[<>&]", lambda found: f"\\u{ord(found[0]):04x}", text)


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
