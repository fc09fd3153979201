"""The frozen prefix: what lies before the cut, computed once per distinct sequence and kept.

The hidden states of frozen stages are the same at every step, in every epoch, under every seed and for every
strategy that leaves these stages alone. One pass over the distinct sequences stores the hidden states of all
cuts that an experiment needs, in memory, or in memory-mapped files where they exceed the budget or shall outlive
the process.
Shapes: U sequences with n tokens together, D dims, L blocks.
"""

import hashlib
import os
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor

from headtohead.core.engine.block import EngineBlock, transformer_blocks
from headtohead.core.engine.mapped import MappedFile
from headtohead.core.engine.products import MKL, Products
from headtohead.core.engine.sequences import Sequences
from headtohead.core.engine.threads import AVAILABLE
from headtohead.core.files import sha256_of, write_text_atomic
from headtohead.core.model import GPTModel

# Fills the hidden states of wanted cuts, for chunks of sequence numbers, reporting sequences done and in all.
Fill = Callable[[dict[int, Tensor], list[Tensor], Callable[[int, int], None]], None]

VERSION = 2  # part of the key on disk: raise it when the computation changes
MOST_IN_MEMORY = (
    2 * 2**30
)  # bytes; a mapped file is read as fast from the system's cache, and is not resident
DEFAULT_LIMIT = 10 * 2**30  # bytes of a cache folder
HIDDEN, HASH = "hidden.f32", "hidden.sha256"
CHUNK_TOKENS = 1920  # tokens computed together: 16 padded messages of the book


@dataclass(frozen=True)
class Stored:
    """Hidden states at one cut.

    Attributes:
        hidden: (n, D) of all tokens in front of a block; (U, D) at each sequence's token that is read behind the
            blocks. Where the mean is read: (n, D) up to the blocks' end, and (U, D) of the means behind the norm.
        seconds: what computing it took, or reading it from disk.
        words: where it lies, for the plan.
    """

    hidden: Tensor
    seconds: float
    words: str
    mapped: MappedFile | None = None  # where it lies in a file

    def take(self, rows: Tensor) -> Tensor:
        """Some rows, where the hidden states lie."""
        values = self.hidden[rows.to(self.hidden.device, non_blocking=True)]
        if self.mapped is not None:
            self.mapped.touched(values.nbytes)
        return values


@dataclass
class PrefixCache:
    """The hidden states of one pretrained model's frozen stages over one data set.

    Args:
        sequences: on the CPU.
        n_blocks: L.
        emb_dim: D.
        weights_sha256: identifies the pretrained weights.
        device: where the hidden states are computed and, when they fit, kept.
        budget: bytes that may be kept in memory; None for half of what is available now, on a CPU at most
            :data:`MOST_IN_MEMORY`.
        folder: keep what is computed there for later processes; None for this process only.
        limit: bytes that the folder may hold; what was used longest ago goes first.
        products: which library computes matrix products.
        half: in bfloat16; what is kept is float32.
        elsewhere: computes the hidden states in place of this process; None for here.

    Attributes:
        passed: sequences that this process has passed through the frozen stages.
    """

    sequences: Sequences
    n_blocks: int
    emb_dim: int
    weights_sha256: str
    device: str = "cpu"
    budget: int | None = None
    folder: Path | None = None
    limit: int = DEFAULT_LIMIT
    products: Products = MKL
    half: bool = False
    elsewhere: Fill | None = None
    passed: int = 0
    _stored: dict[int, Stored] = field(default_factory=dict)
    _in_memory: int = 0
    _scratch: Path | None = None

    def why_not(self, cut: int) -> str | None:
        """Why the hidden states at ``cut`` cannot be kept; None where they can."""
        size = self.size(cut)
        if cut in self._stored or (self.folder is None and size <= self._budget()):
            return None
        free = shutil.disk_usage(self._disk()).free
        if self.folder is not None and size > self.limit:
            return f"{_mb(size)} exceed the cache folder's limit of {_mb(self.limit)}"
        if size > 0.9 * free:
            return f"{_mb(size)} exceed the memory budget of {_mb(self._budget())} and the free disk space"
        return None

    def size(self, cut: int) -> int:
        """Bytes of the hidden states at ``cut``."""
        rows, dims = self._shape(cut)
        return 4 * rows * dims

    def get(
        self,
        cut: int,
        others: Iterable[int],
        build: Callable[[], GPTModel],
        on_progress: Callable[[int, int], None],
    ) -> Stored:
        """The hidden states at ``cut``; computed together with those at ``others`` where they are missing.

        Args:
            cut: the cut that is needed now.
            others: cuts that later runs will need; one pass computes all of them.
            build: gives the pretrained model.
            on_progress: called with sequences done and in all.
        """
        missing = []
        for wanted in dict.fromkeys([cut, *others]):
            if wanted not in self._stored and not self._read(wanted) and self.why_not(wanted) is None:
                missing.append(wanted)
        if cut in missing:
            self._compute(sorted(missing), build, on_progress)
        return self._stored[cut]

    def knows(self, cut: int) -> bool:
        """Whether the hidden states at ``cut`` are there already."""
        return cut in self._stored

    def adopt(self, cut: int, hidden: Tensor, seconds: float, words: str) -> None:
        """Take hidden states that another process has computed; they are read only."""
        fits = self.device != "cpu" and self.size(cut) <= self._budget()
        self._stored[cut] = Stored(hidden.to(self.device) if fits else hidden, seconds, words)

    def part(self, cuts: list[int], chunks: list[Tensor], model: GPTModel) -> dict[int, Tensor]:
        """Hidden states of some chunks of sequences: per cut the rows of one after the other, on the CPU."""
        whole, numbers = self.sequences, torch.cat(chunks)
        read = None if whole.read is None else whole.read[numbers]
        tokens = whole.token_ids[whole.token_rows(numbers)[0]]
        some = Sequences(tokens, whole.lengths[numbers], {}, read, whole.readout)
        own = torch.arange(len(numbers)).split([len(chunk) for chunk in chunks])
        rows = {cut: len(tokens) if self._every_token(cut) else len(some) for cut in cuts}
        wanted = {cut: torch.empty(rows[cut], self.emb_dim) for cut in cuts}
        passing = _Pass(model.to(self.device), some, wanted, self.device, self.products, self.half)
        passing.run(own, lambda done, total: None)
        self.passed += len(numbers)
        return wanted

    def exact(self, cut: int, numbers: Tensor, model: GPTModel) -> Stored:
        """The hidden states of a few sequences in float32; the rows of all others hold nothing."""
        hidden = torch.empty(self._shape(cut))
        kept, self.half = self.half, False
        try:
            hidden[self.rows_of(cut, [numbers])] = self.part([cut], [numbers], model)[cut]
        finally:
            self.half = kept
        return Stored(hidden, 0.0, "for the comparison")

    def rows_of(self, cut: int, chunks: list[Tensor]) -> Tensor:
        """Which rows of the hidden states at ``cut`` :meth:`part` gives for these chunks."""
        numbers = torch.cat(chunks)
        return self.sequences.token_rows(numbers)[0] if self._every_token(cut) else numbers

    def _every_token(self, cut: int) -> bool:
        """Whether the hidden states at ``cut`` are those of every token, or of what is read of a sequence."""
        return cut <= self.n_blocks + self.sequences.readout.pools

    def _shape(self, cut: int) -> tuple[int, int]:
        rows = int(self.sequences.lengths.sum()) if self._every_token(cut) else len(self.sequences)
        return rows, self.emb_dim

    def _budget(self) -> int:
        if self.budget is not None:
            return self.budget - self._in_memory
        if self.device.startswith("cuda"):
            return int(torch.cuda.mem_get_info(self.device)[0]) // 2
        return min(available_memory() // 2, MOST_IN_MEMORY - self._in_memory)

    def _disk(self) -> Path:
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            return self.folder
        if self._scratch is None:
            self._scratch = Path(tempfile.mkdtemp(prefix="headtohead-prefix-"))
            weakref.finalize(self, shutil.rmtree, self._scratch, ignore_errors=True)
        return self._scratch

    # --- computing -------------------------------------------------------------------------------------------

    def _compute(
        self, cuts: list[int], build: Callable[[], GPTModel], on_progress: Callable[[int, int], None]
    ) -> None:
        start = time.perf_counter()
        places = {cut: self._allocate(cut) for cut in cuts}
        wanted = {cut: place.hidden for cut, place in places.items()}
        mapped = {cut: place.mapped for cut, place in places.items() if place.mapped is not None}
        chunks = chunks_of(self.sequences)
        if self.elsewhere:
            self.elsewhere(wanted, chunks, on_progress)
        else:
            model = build().to(self.device)
            a_pass = _Pass(model, self.sequences, wanted, self.device, self.products, self.half, mapped)
            a_pass.run(chunks, on_progress)
            self.passed += len(self.sequences)
        seconds = time.perf_counter() - start
        for cut, place in places.items():
            # Charged as if computed alone: the pass up to this cut takes that share of the blocks.
            share = min(cut, self.n_blocks + 1) / min(max(cuts), self.n_blocks + 1)
            self._stored[cut] = self._keep(cut, place, seconds * share)

    def _allocate(self, cut: int) -> "_Place":
        if self.folder is None and self.size(cut) <= self._budget():
            self._in_memory += self.size(cut)
            return _Place(None, torch.empty(self._shape(cut), device=self.device))
        if self.folder is not None:
            self._make_room(self.size(cut))
        folder = Path(tempfile.mkdtemp(dir=self._disk(), prefix=".computing-"))
        mapped = MappedFile(folder / HIDDEN, self._shape(cut))
        return _Place(folder, mapped.tensor, mapped)

    def _keep(self, cut: int, place: "_Place", seconds: float) -> Stored:
        if place.folder is None:
            where = "in memory"
        elif self.folder is None:
            where = "memory-mapped, because that exceeds the memory budget"
        else:
            where = f"on disk in {self.folder}"
            self._publish(cut, place)
        return Stored(place.hidden, seconds, f"{_mb(self.size(cut))} {where}", place.mapped)

    # --- on disk ---------------------------------------------------------------------------------------------

    def _key(self, cut: int) -> str:
        facts = [VERSION, self.weights_sha256, self.sequences.sha256(), cut, self.emb_dim]
        facts.append("bfloat16 products" if self.half else "float32")
        return hashlib.sha256(repr(facts).encode()).hexdigest()[:24]

    def _publish(self, cut: int, place: "_Place") -> None:
        """Give the finished files their place; a reader never sees half of them."""
        assert place.folder is not None and self.folder is not None
        write_text_atomic(place.folder / HASH, sha256_of(place.folder / HIDDEN))
        target = self.folder / self._key(cut)
        shutil.rmtree(target, ignore_errors=True)
        os.replace(place.folder, target)

    def _read(self, cut: int) -> bool:
        """Take the hidden states at ``cut`` from the cache folder, if they are there and intact."""
        if self.folder is None:
            return False
        start, folder = time.perf_counter(), self.folder / self._key(cut)
        if not (folder / HASH).is_file():
            return False
        if not (folder / HIDDEN).is_file() or sha256_of(folder / HIDDEN) != (folder / HASH).read_text():
            shutil.rmtree(folder)  # damaged: computed again
            return False
        os.utime(folder / HASH)
        mapped = MappedFile(folder / HIDDEN, self._shape(cut))
        hidden = mapped.tensor
        if self.device != "cpu" and self.size(cut) <= self._budget():
            hidden = hidden.to(self.device)
        words = f"{_mb(self.size(cut))} read from {self.folder}"
        self._stored[cut] = Stored(hidden, time.perf_counter() - start, words, mapped)
        return True

    def _make_room(self, size: int) -> None:
        assert self.folder is not None
        self._disk()
        entries = sorted(self.folder.glob(f"*/{HASH}"), key=lambda path: path.stat().st_mtime)
        used = {path.parent: sum(file.stat().st_size for file in path.parent.iterdir()) for path in entries}
        for folder in list(used):
            if sum(used.values()) + size <= self.limit:
                break
            shutil.rmtree(folder)
            del used[folder]


@dataclass(frozen=True)
class _Place:
    """Memory for the hidden states of one cut, and the folder of its files where it is mapped."""

    folder: Path | None
    hidden: Tensor
    mapped: MappedFile | None = None


class _Pass:
    """One pass of all sequences through the frozen stages, leaving hidden states at every wanted cut."""

    def __init__(
        self,
        model: GPTModel,
        sequences: Sequences,
        wanted: dict[int, Tensor],
        device: str,
        products: Products,
        half: bool,
        mapped: Mapping[int, MappedFile] = MappingProxyType({}),
    ) -> None:
        self.device = device
        self.mapped = mapped
        self.model = model
        self.sequences = sequences
        self.wanted = wanted
        self.blocks = [
            EngineBlock(block, {}, frozen=True, associative=True, products=products, half=half)
            for block in transformer_blocks(model)
        ]

    def run(self, chunks: Sequence[Tensor], on_progress: Callable[[int, int], None]) -> None:
        """Fill the wanted tensors. On the CPU, one thread per core works on its own chunk: no barriers."""
        threads = torch.get_num_threads()
        workers = AVAILABLE if self.device == "cpu" and len(chunks) >= AVAILABLE else 1
        own_threads = 1 if workers > 1 else threads
        done = 0
        try:
            with ThreadPoolExecutor(
                workers, initializer=torch.set_num_threads, initargs=(own_threads,)
            ) as pool:
                for chunk, _ in zip(chunks, pool.map(self._run_chunk, chunks), strict=True):
                    done += len(chunk)
                    on_progress(done, len(self.sequences))
        finally:
            torch.set_num_threads(threads)

    @torch.no_grad()
    def _run_chunk(self, numbers: Tensor) -> None:
        layout = self.sequences.layout(numbers).to(self.device)
        rows, positions = self.sequences.token_rows(numbers)
        token_ids = self.sequences.token_ids[rows]
        x = self.model.tok_emb(token_ids.to(self.device)) + self.model.pos_emb(positions.to(self.device))
        pools = self.sequences.readout.pools
        for cut, block in enumerate(self.blocks, start=1):
            self._store(cut, rows, x)
            if cut == max(self.wanted):
                return
            if cut < len(self.blocks) or pools:
                x = block.all_tokens(x, layout)
        if pools:
            self._store(len(self.blocks) + 1, rows, x)
            self._store(len(self.blocks) + 2, numbers, layout.pad(self.model.final_norm(x)).mean(dim=1))
            return
        last = self.blocks[-1]
        at = last.last_token(layout.pad(last.normalize(x)), x[layout.read], layout.ended())
        self._store(len(self.blocks) + 1, numbers, at)
        self._store(len(self.blocks) + 2, numbers, self.model.final_norm(at))

    def _store(self, cut: int, rows: Tensor, values: Tensor) -> None:
        if cut in self.wanted:
            target = self.wanted[cut]
            target[rows.to(target.device)] = values.to(target.device)
        if cut in self.mapped:
            self.mapped[cut].touched(values.nbytes)


def chunks_of(sequences: Sequences) -> list[Tensor]:
    """Sequence numbers by length, in chunks of about CHUNK_TOKENS tokens."""
    lengths = sequences.lengths
    order = torch.argsort(lengths, stable=True)
    sizes = torch.bincount((torch.cumsum(lengths[order], 0) - 1) // CHUNK_TOKENS)
    return [chunk for chunk in order.split(sizes.tolist()) if len(chunk)]


def available_memory() -> int:
    """Bytes of memory that can be taken without swapping."""
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        line = next(line for line in meminfo.read_text().splitlines() if line.startswith("MemAvailable"))
        return int(line.split()[1]) * 1024
    if not hasattr(os, "sysconf"):
        return 4 * 2**30
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def _mb(size: int) -> str:
    return f"{size / 1e6:,.0f} MB" if size >= 1e7 else f"{size / 1e6:,.1f} MB"
