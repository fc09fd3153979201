"""A finetuned classifier out of headtohead: a folder that another library opens, verified before it is written.

    headtohead export results/NAME/runs/RUN --to transformers
    headtohead export results/NAME/runs/RUN --to peft --output my_adapter
    headtohead export results/NAME/runs/RUN --to gptmodel

What is written is opened again by the named library and asked about 20 messages; where a label differs, or a
probability by more than 1e-4, nothing is left behind.
"""

from collections.abc import Callable
from pathlib import Path

from headtohead.core.classifier import load_classifier
from headtohead.core.errors import InputError
from headtohead.core.export import adapter, book, sequence_classifier
from headtohead.core.export.messages import messages_of
from headtohead.core.export.verify import Exported, check_same
from headtohead.core.files import atomic_directory, file_errors

# The name behind --to -> what writes the folder and opens it again.
FORMATS: dict[str, Callable[..., Exported]] = {
    "transformers": sequence_classifier.write,
    "peft": adapter.write,
    "gptmodel": book.write,
}


def export_classifier(
    run: Path,
    to: str,
    output: Path | None = None,
    *,
    weights_dir: Path | None = None,
    plugin: Path | None = None,
) -> Path:
    """Write the classifier of a run in another library's format; returns the folder.

    Args:
        run: the run's folder.
        to: one of :data:`FORMATS`.
        output: the folder to be made; None for ``export-<to>`` in the run's folder.
        weights_dir, plugin: as in :func:`headtohead.core.classifier.load_classifier`.

    Raises:
        InputError: the run holds no classifier, the folder is there already, the format cannot say what the
            classifier does, or what was written does not answer as the classifier does.
    """
    if to not in FORMATS:
        raise InputError(f"--to {to}: no such format; choose one of {', '.join(FORMATS)}")
    output = output or run / f"export-{to}"
    if output.exists():
        raise InputError(f"{output} is there already; remove it, or name another folder with --output")
    classifier = load_classifier(run, weights_dir=weights_dir, plugin=plugin)
    texts = messages_of(run)
    with (
        file_errors(f"writing {output}", "name another folder with --output"),
        atomic_directory(output) as folder,
    ):
        exported = FORMATS[to](folder, classifier)
        check_same(classifier, exported, texts)
    return output
