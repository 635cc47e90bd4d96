"""The rows of an embedding store, one for each response, by their questions."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gpo_ray.errors import EmbeddingError

VectorsAndLogprobs = tuple[NDArray[np.float32], NDArray[np.float32]]
"""The embeddings (R, E) of a question's responses, and the log-probabilities (R,) of their letters."""


def by_question(table: pa.Table, pooling: str, where: str) -> dict[str, VectorsAndLogprobs]:
    """Return the vectors (R, E) and letter log-probabilities (R,) of a shard's questions, by content hash.

    Raises:
        EmbeddingError: if the rows of a question are not all of its responses, in their order.
    """
    if table.num_rows == 0:
        return {}
    table = table.combine_chunks()
    columns = [table[part].chunk(0) for part in pooling.split("+")]
    vectors = np.concatenate(
        [c.flatten().to_numpy().reshape(len(c), -1).astype(np.float32) for c in columns], axis=1
    )
    letters = table["letter_logprob"].to_numpy()
    index = table["response_index"].to_numpy()
    first = (index == 0).nonzero()[0]
    starts = np.repeat(first, np.diff(np.append(first, len(index))))  # of the question of each row
    keys, ids = (np.asarray(table[name].to_pylist()) for name in ("question_key", "question_id"))
    in_order = len(starts) == len(index) and bool((index == np.arange(len(index)) - starts).all())
    if not in_order or (keys != keys[starts]).any() or (ids != ids[starts]).any():
        raise EmbeddingError(
            f"{where}: the rows of a question are not its responses in their order; delete the file and run "
            "gpo embed again"
        )
    ends = np.append(first[1:], len(keys))
    return {str(keys[a]): (vectors[a:b], letters[a:b]) for a, b in zip(first, ends, strict=True)}
