"""The GPT cases: sizes, tokens and first weights, the same for every system. NumPy only: workers live in several environments."""

from dataclasses import dataclass

import numpy as np

RATE, BETAS, DECAY = 1e-3, (0.9, 0.99), 0.1     # of AdamW, on all parameters
VOCABULARY = 65
BEFORE = 3                                      # steps made before the first timed one, so that the losses compared have seen updates


@dataclass(frozen=True)
class Case:
    """One training step to time: forward, loss, backward, AdamW."""

    name: str
    layers: int
    heads: int
    width: int
    context: int
    batch: int

    def tokens(self) -> tuple[np.ndarray, np.ndarray]:
        """Return inputs and targets: (batch, context) int64."""
        both = np.random.default_rng(1).integers(0, VOCABULARY, (self.batch, self.context + 1))
        return np.ascontiguousarray(both[:, :-1]), np.ascontiguousarray(both[:, 1:])

    def weights(self) -> dict[str, np.ndarray]:
        """Return the first weights, float32, by the names of hyperion.nn.GPT; linear maps are (outputs, inputs)."""
        c = self.width
        shapes: dict[str, tuple[int, ...]] = {"embedding.weight": (VOCABULARY, c), "places.weight": (self.context, c)}
        for i in range(self.layers):
            for name, shape in (("attention.qkv", (3 * c, c)), ("attention.output", (c, c)), ("feedforward.up", (4 * c, c)),
                                ("feedforward.down", (c, 4 * c))):
                shapes |= {f"blocks.{i}.{name}.weight": shape, f"blocks.{i}.{name}.bias": shape[:1]}
            for name in ("attention_norm", "feedforward_norm"):
                shapes |= {f"blocks.{i}.{name}.weight": (c,), f"blocks.{i}.{name}.bias": (c,)}
        shapes |= {"norm.weight": (c,), "norm.bias": (c,)}
        numbers = np.random.default_rng(2)
        plain = {"weight": np.ones, "bias": np.zeros}
        return {
            name: numbers.normal(0.0, 0.02, shape).astype(np.float32) if len(shape) == 2
            else plain[name.rpartition(".")[2]](shape, np.float32) for name, shape in shapes.items()
        }


FULL = (
    Case("gpt_4l_4h_128d_t64_b12", 4, 4, 128, 64, 12),
    Case("gpt_6l_6h_384d_t256_b8", 6, 6, 384, 256, 8),
)
SMOKE = (Case("gpt_1l_2h_16d_t8_b2", 1, 2, 16, 8, 2),)
