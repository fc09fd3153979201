"""Where the optional development data lies: real messages, a small checkpoint and reference numbers."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("HEADTOHEAD_TEST_DATA", ROOT.parent / "shared" / "data"))
GOLDEN = DATA.parent / "golden" / "chapter_tiny.json"
TINY_CHECKPOINT = DATA / "gpt2_tiny_openai"
PRETRAINING = DATA / "pretraining"
SMS = DATA / "sms_spam_collection" / "SMSSpamCollection"
WHY_SKIPPED = f"the development data folder {DATA} is absent (set HEADTOHEAD_TEST_DATA)"
