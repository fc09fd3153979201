"""The README of an exported folder: what it is, from where, how to open it."""

from pathlib import Path

from headtohead.core.classifier import Classifier

TEMPLATE = """\
---
library_name: {library}
pipeline_tag: text-classification
---

# A text classifier: {model} finetuned by {label}

Exported by headtohead and compared with its original on 20 messages: equal labels, probabilities within 1e-4.

- **Classes**: {classes}
- **Base model**: {model} ({layers} layers of {dims} dims, {tokens:,} tokens), weights with hash {sha256}
- **Trained by**: {label}, seed {seed}
- **Reads**: texts of up to {max_length} tokens, longer ones are cut; the class is read at {readout}
- **Limits**: it knows the kind of messages it was trained on, and no other; its probabilities are not calibrated

```python
{code}```
"""


def write(folder: Path, classifier: Classifier, library: str, code: str) -> None:
    """Write README.md; ``code`` opens the folder, which is called FOLDER in it."""
    info = classifier.info
    text = TEMPLATE.format(
        library=library,
        model=info.model,
        label=info.label,
        classes=", ".join(f"{number} {name}" for number, name in enumerate(info.label_names)),
        layers=info.model_config["n_layers"],
        dims=info.model_config["emb_dim"],
        tokens=info.model_config["vocab_size"],
        sha256=info.model_sha256[:12],
        seed=info.seed,
        max_length=info.max_length,
        readout=classifier.readout.words,
        code=code,
    )
    (folder / "README.md").write_text(text, encoding="utf-8")
