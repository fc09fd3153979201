"""A classifier's tokenizer as a file of the tokenizers library, which transformers opens."""

from pathlib import Path
from typing import TYPE_CHECKING

from headtohead.core.classifier import Classifier
from headtohead.core.tokenizer import GPT2, gpt2_files
from headtohead.core.weights.tokenizer_files import OwnTokenizer

if TYPE_CHECKING:
    import tokenizers


def save_tokenizer(folder: Path, classifier: Classifier) -> None:
    """Write tokenizer.json and tokenizer_config.json; texts are cut at the classifier's own length."""
    from transformers import PreTrainedTokenizerFast

    inner = library_tokenizer(classifier)
    pad = inner.id_to_token(classifier.tokenizer.pad_id)
    PreTrainedTokenizerFast(
        tokenizer_object=inner,
        model_max_length=classifier.info.max_length,
        pad_token=pad,
        padding_side="right",
        truncation_side="right",
        split_special_tokens=True,  # their names in a message are text
    ).save_pretrained(folder)


def library_tokenizer(classifier: Classifier) -> "tokenizers.Tokenizer":
    """The classifier's tokenizer in the library's form."""
    import tokenizers

    own = classifier.tokenizer
    if isinstance(own, OwnTokenizer):
        return own.inner
    assert own is GPT2
    vocabulary, merges = gpt2_files()
    inner = tokenizers.Tokenizer(tokenizers.models.BPE.from_file(str(vocabulary), str(merges)))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = tokenizers.decoders.ByteLevel()
    inner.add_special_tokens(["<|endoftext|>"])
    return inner
