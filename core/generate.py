"""What a pretrained model itself says: texts from its original output head.

    headtohead generate "Every effort moves you"
    headtohead generate "Every effort moves you" --temperature 0.8 --top-k 40 --seed 1 --model demo

Source: chapter 5 of "Build a Large Language Model (From Scratch)" (generate); without a temperature the most
probable token is taken, and the text is that of transformers' greedy search.
Shapes: B texts, T tokens, V tokens in the vocabulary.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from headtohead.core.device import resolve_device
from headtohead.core.errors import InputError, command, printable
from headtohead.core.model import GPTModel
from headtohead.core.tokenizer import GPT2, Tokenizer
from headtohead.core.weights import find_pretrained

MOST_TOKENS = 1_000_000


@torch.inference_mode()
def generate(
    model: GPTModel,
    token_ids: Tensor,
    new_tokens: int,
    *,
    temperature: float = 0.0,
    top_k: int | None = None,
    end_id: int | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Continue texts of equal length, token by token.

    Args:
        model: in evaluation mode.
        token_ids: (B, T), T at least 1.
        new_tokens: how many to add at most.
        temperature: divides the logits before one is drawn; 0 takes the most probable token instead.
        top_k: draw among this many most probable tokens only; None among all.
        end_id: a text ends with it, and is filled up with it; None: nothing ends a text.
        generator: draws, on the model's device; None for torch's own.

    Returns:
        (B, T + n), n at most ``new_tokens``; less where all texts have ended.
    """
    ended = torch.zeros(len(token_ids), dtype=torch.bool, device=token_ids.device)
    for _ in range(new_tokens):
        seen = token_ids[:, -model.config.context_length :]
        last = seen.new_full((len(seen),), seen.shape[1] - 1)
        chosen = _choose(model.class_logits(seen, last), temperature, top_k, generator)  # (B, V) -> (B,)
        if end_id is not None:
            chosen = torch.where(ended, end_id, chosen)
            ended |= chosen == end_id
        token_ids = torch.cat([token_ids, chosen[:, None]], dim=1)
        if bool(ended.all()):
            break
    return token_ids


def _choose(
    logits: Tensor, temperature: float, top_k: int | None, generator: torch.Generator | None
) -> Tensor:
    """One token per text: (B, V) -> (B,)."""
    if temperature == 0.0:
        return logits.argmax(dim=-1)
    if top_k is not None:
        least = logits.topk(min(top_k, logits.shape[-1])).values[:, -1:]
        logits = logits.masked_fill(logits < least, float("-inf"))
    return torch.multinomial((logits / temperature).softmax(dim=-1), 1, generator=generator)[:, 0]


def continue_text(
    model: GPTModel,
    tokenizer: Tokenizer,
    text: str,
    new_tokens: int,
    *,
    temperature: float = 0.0,
    top_k: int | None = None,
    seed: int = 123,
) -> str:
    """A text and what the model adds to it.

    Raises:
        InputError: the text has no tokens.
    """
    device = next(model.parameters()).device
    token_ids = tokenizer.encode(text)
    if not token_ids:
        raise InputError("the text is empty; give the words with which it begins")
    generated = generate(
        model,
        torch.tensor([token_ids], device=device),
        new_tokens,
        temperature=temperature,
        top_k=top_k,
        end_id=tokenizer.end_id,
        generator=torch.Generator(device).manual_seed(seed),
    )[0].tolist()
    if generated[-1] == tokenizer.end_id:
        generated.pop()
    return tokenizer.decode(generated)


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: prints the text and its continuation."""
    options = build_parser().parse_args(arguments)
    _check(options)
    pretrained = find_pretrained(options.model, options.weights_dir, download=not options.offline)
    model = pretrained.build().to(resolve_device(options.device))
    text = continue_text(
        model,
        pretrained.tokenizer or GPT2,
        options.text,
        options.tokens,
        temperature=options.temperature,
        top_k=options.top_k,
        seed=options.seed,
    )
    print("\n".join(map(printable, text.split("\n"))))
    return 0


def build_parser() -> argparse.ArgumentParser:
    """The command's flags."""
    parser = argparse.ArgumentParser(
        prog="headtohead generate",
        description="Continue a text with a pretrained model's own output head.",
        epilog='example: headtohead generate "Every effort moves you" --temperature 0.8 --top-k 40',
    )
    parser.add_argument("text", help="how the text begins")
    parser.add_argument("--model", help="124M (default), 355M, 774M, 1558M, demo or hf:NAME")
    parser.add_argument("--weights-dir", type=Path, help="a folder with a checkpoint")
    parser.add_argument("--tokens", type=int, default=25, metavar="N", help="how many to add (default: 25)")
    parser.add_argument(
        "--temperature", type=float, default=0.0, help="0 takes the most probable token (default); 1 draws"
    )
    parser.add_argument("--top-k", type=int, metavar="K", help="draw among the K most probable tokens only")
    parser.add_argument("--seed", type=int, default=123, help="of what is drawn (default: 123)")
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda, cuda:N or mps (default: cpu)")
    parser.add_argument("--offline", action="store_true", help="do not try to download anything")
    return parser


def _check(options: argparse.Namespace) -> None:
    if not 1 <= options.tokens <= MOST_TOKENS:
        raise InputError(f"--tokens {options.tokens}: must be from 1 to {MOST_TOKENS:,}")
    if not 0.0 <= options.temperature <= 1000.0:
        raise InputError(
            f"--temperature {options.temperature}: must be from 0 (the most probable token) to 1000"
        )
    if options.top_k is not None and options.top_k < 1:
        raise InputError(f"--top-k {options.top_k}: must be 1 or more")
    if options.top_k is not None and options.temperature == 0.0:
        raise InputError(
            "--top-k chooses among what is drawn, and nothing is at --temperature 0; give a temperature"
        )
    if not 0 <= options.seed < 2**63:
        raise InputError(f"--seed {options.seed}: must be from 0 to 2^63 - 1")


if __name__ == "__main__":
    sys.exit(main())
