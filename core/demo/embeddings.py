"""Token embeddings to start from: which tokens stand near which, factorised.

Levy and Goldberg (2014), "Neural Word Embedding as Implicit Matrix Factorization": the truncated singular value
decomposition of the positive pointwise mutual information is as good as word2vec, and takes a minute.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.utils.extmath import randomized_svd

NEAREST = 4  # a token's neighbours are those at most so many places away
SMOOTHING = 0.75  # exponent of the neighbours' counts, which keeps rare ones from looking too informative
START_STD = 0.06


def ppmi_svd(
    rows: NDArray[np.int32], starts: NDArray[np.int64], vocabulary: int, emb_dim: int, seed: int
) -> NDArray[np.float32]:
    """Embeddings (R, D) with standard deviation START_STD over all values.

    Args:
        rows: (N,) messages end to end; starts: (messages + 1,) where each begins. No pair crosses messages.
        vocabulary: R. emb_dim: D.
    """
    counts = _neighbours(rows, starts, vocabulary)
    matrix = _positive_mutual_information(counts)
    wanted = min(emb_dim, vocabulary - 1)
    left, values, _ = randomized_svd(matrix, wanted, n_oversamples=16, n_iter=3, random_state=seed)
    embeddings = np.zeros((vocabulary, emb_dim), dtype=np.float32)
    embeddings[:, :wanted] = left * np.sqrt(values)
    # Directions of the decomposition differ much in length; a rotation spreads them over all dimensions.
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((emb_dim, emb_dim)))
    embeddings = embeddings @ rotation.astype(np.float32)
    noise = np.random.default_rng(seed + 1).standard_normal(embeddings.shape).astype(np.float32)
    return START_STD * (embeddings / embeddings.std() + 0.1 * noise)


def _neighbours(rows: NDArray[np.int32], starts: NDArray[np.int64], vocabulary: int) -> sparse.csr_matrix:
    """How often two rows stand near each other in one message, nearer pairs counted more: (R, R), symmetric."""
    message = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    total = sparse.csr_matrix((vocabulary, vocabulary), dtype=np.float32)
    for distance in range(1, NEAREST + 1):
        same = message[distance:] == message[:-distance]
        first, second = rows[:-distance][same], rows[distance:][same]
        weight = np.full(len(first), 1.0 / distance, dtype=np.float32)
        total = total + sparse.csr_matrix((weight, (first, second)), shape=total.shape)
    return total + total.T


def _positive_mutual_information(counts: sparse.csr_matrix) -> sparse.csr_matrix:
    """max(0, log p(a, b) / (p(a) p'(b))) with p' smoothed, where a pair occurs; zero elsewhere."""
    pairs = counts.tocoo()
    row_sums = np.asarray(counts.sum(axis=1)).ravel()
    smoothed = row_sums**SMOOTHING
    expected = row_sums[pairs.row] * smoothed[pairs.col] / smoothed.sum()
    information = np.log(np.maximum(pairs.data / expected, 1.0)).astype(np.float32)
    kept = information > 0
    return sparse.csr_matrix((information[kept], (pairs.row[kept], pairs.col[kept])), shape=counts.shape)
