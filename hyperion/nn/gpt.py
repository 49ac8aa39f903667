"""GPT-2, and GPT-3's alternation of dense and banded attention."""

from collections.abc import Callable
from typing import Any, ClassVar

from hyperion import autograd as hp
from hyperion.autograd import Tensor
from hyperion.autograd.masks import Causal, Mask, SlidingWindow, as_mask
from hyperion.autograd.random import Generator
from hyperion.errors import InputError
from hyperion.nn import initializers
from hyperion.nn.arguments import as_count
from hyperion.nn.dropout import Dropout
from hyperion.nn.language import LanguageModel
from hyperion.nn.linear import Embedding, Linear
from hyperion.nn.normalization import LayerNorm
from hyperion.nn.pretrained import Layout, Row, needed, refuse
from hyperion.nn.transformer import TransformerBlock

__all__ = ["GPT", "gelu_tanh"]


def gelu_tanh(x: Any) -> Tensor:
    """Return GELU by its tanh approximation, as GPT-2 has it; see `hyperion.gelu`.

    >>> gelu_tanh(0.0)
    Tensor () float32, cpu: 0.
    """
    return hp.gelu(x, approximate=True)


ACTIVATIONS: dict[str, Callable[..., Any]] = {
    "gelu_new": gelu_tanh, "gelu_pytorch_tanh": gelu_tanh, "gelu": hp.gelu, "relu": hp.relu, "silu": hp.silu, "swish": hp.silu,
    "tanh": hp.tanh,
}


def _arguments(config: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of GPT that a config.json asks for."""
    wrong = needed(config, "vocab_size", "n_embd", "n_layer", "n_head", "n_positions")
    activation = config.get("activation_function", "gelu_new")
    if activation not in ACTIVATIONS:
        wrong.append(f"activation_function={activation!r}: known are {', '.join(ACTIVATIONS)}")
    if config.get("add_cross_attention"):
        wrong.append("add_cross_attention=true: cross attention is not part of GPT")
    refuse("gpt2", wrong)
    drops = [float(config.get(name, 0.1)) for name in ("resid_pdrop", "embd_pdrop", "attn_pdrop")]
    return {
        "vocabulary": config["vocab_size"], "context": config["n_positions"], "layers": config["n_layer"], "heads": config["n_head"],
        "width": config["n_embd"], "hidden": config.get("n_inner"), "activation": ACTIVATIONS[activation],
        "eps": float(config.get("layer_norm_epsilon", 1e-5)), "tied": bool(config.get("tie_word_embeddings", True)),
        "dropout": drops[0], "embedding_dropout": drops[1], "attention_dropout": drops[2],
        "scale": None if config.get("scale_attn_weights", True) else 1.0,
        "scale_by_layer": bool(config.get("scale_attn_by_inverse_layer_idx", False)),
    }


def _config(model: "GPT") -> dict[str, Any]:
    """Return what config.json says about a GPT."""
    s = model.settings
    name = next((name for name, function in ACTIVATIONS.items() if function is s["activation"]), None)
    wrong = [
        *([f"activation={s['activation']!r}: known are {', '.join(ACTIVATIONS)}"] if name is None else []),
        *([f"banded={s['banded']!r}: GPT-2 is dense"] if s["banded"] is not None else []),
        *(["bias=False: GPT-2 has biases"] if not s["bias"] else []),
        *([f"scale={s['scale']}: GPT-2 has 1 or 1 / sqrt(head size)"] if s["scale"] not in (None, 1.0) else []),
    ]
    if wrong:
        raise InputError("GPT.save_pretrained: a config.json of gpt2 cannot say\n  " + "\n  ".join(wrong) + "\nuse nn.save(model, path)")
    return {
        "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "vocab_size": s["vocabulary"], "n_positions": s["context"],
        "n_ctx": s["context"], "n_layer": s["layers"], "n_head": s["heads"], "n_embd": s["width"], "n_inner": s["hidden"],
        "activation_function": name, "layer_norm_epsilon": s["eps"], "tie_word_embeddings": s["tied"], "resid_pdrop": s["dropout"],
        "embd_pdrop": s["embedding_dropout"], "attn_pdrop": s["attention_dropout"], "scale_attn_weights": s["scale"] is None,
        "scale_attn_by_inverse_layer_idx": s["scale_by_layer"],
    }


BLOCK, THEIRS = "blocks.{}.", "transformer.h.{}."
LAYOUT = Layout(
    "gpt2", "transformer.",
    (
        Row("embedding.weight", "transformer.wte.weight"),
        Row("places.weight", "transformer.wpe.weight"),
        *(Row(f"{BLOCK}{ours}.{part}", f"{THEIRS}{theirs}.{part}") for part in ("weight", "bias")
          for ours, theirs in (("attention_norm", "ln_1"), ("feedforward_norm", "ln_2"))),
        *(Row(f"{BLOCK}{ours}.{part}", f"{THEIRS}{theirs}.{part}", turned=part == "weight") for part in ("weight", "bias")
          for ours, theirs in (("attention.qkv", "attn.c_attn"), ("attention.output", "attn.c_proj"), ("feedforward.up", "mlp.c_fc"),
                               ("feedforward.down", "mlp.c_proj"))),
        Row("norm.weight", "transformer.ln_f.weight"),
        Row("norm.bias", "transformer.ln_f.bias"),
        Row("head.weight", "lm_head.weight"),
    ),
    r".*\.attn\.(masked_)?bias", _arguments, _config,
)


class GPT(LanguageModel):
    """A transformer that scores the next token: GPT-2, or GPT-3 with `banded`.

    vocabulary, context: numbers of known tokens, and of tokens that it can read.  layers, heads, width: of its blocks.
    hidden: of the feed-forward parts; None: 4 width.  activation: any function of a Tensor.  tied: the head is the embedding, transposed.
    dropout: of what blocks add; embedding_dropout, attention_dropout: of embeddings and probabilities (None: the same).
    banded: None: dense; a number: every second block sees only so many tokens, its own among them; or a mask for these blocks.
    scale: of the scores, None: 1 / sqrt(head size).  scale_by_layer: divided by the number of the block, from 1.
    Weights begin normally distributed with deviation 0.02, those that end in a sum divided by sqrt(2 layers); biases with 0.
    GPT.SIZES has those of GPT-2: nn.GPT(vocabulary=50257, context=1024, **nn.GPT.SIZES["small"]).
    Raises: ShapeError if heads do not divide the width; InputError or IndexingError as `forward`.
    Source: Radford et al. 2019, "Language models are unsupervised multitask learners"; Brown et al. 2020, arXiv:2005.14165, section 2.1.

    >>> GPT(vocabulary=65, context=64, layers=2, heads=4, width=32)
    GPT, 29,600 parameters
    """

    layout = LAYOUT
    SIZES: ClassVar[dict[str, dict[str, int]]] = {
        "small": {"layers": 12, "heads": 12, "width": 768}, "medium": {"layers": 24, "heads": 16, "width": 1024},
        "large": {"layers": 36, "heads": 20, "width": 1280}, "xl": {"layers": 48, "heads": 25, "width": 1600},
    }

    def __init__(
        self, vocabulary: int, context: int, layers: int, heads: int, width: int, hidden: int | None = None,
        activation: Callable[..., Any] = gelu_tanh, dropout: float = 0.0, embedding_dropout: float | None = None,
        attention_dropout: float | None = None, bias: bool = True, tied: bool = True, eps: float = 1e-5, banded: int | Mask | None = None,
        scale: float | None = None, scale_by_layer: bool = False, dtype: Any = None, generator: Generator | None = None,
    ) -> None:
        self.vocabulary, self.context = as_count(vocabulary, "GPT(vocabulary)"), as_count(context, "GPT(context)")
        count, self.longest = as_count(layers, "GPT(layers)"), self.context
        attention_dropout = dropout if attention_dropout is None else attention_dropout
        embedding_dropout = dropout if embedding_dropout is None else embedding_dropout
        self.settings = {
            "vocabulary": vocabulary, "context": context, "layers": layers, "heads": heads, "width": width, "hidden": hidden,
            "activation": activation, "dropout": dropout, "embedding_dropout": embedding_dropout, "attention_dropout": attention_dropout,
            "bias": bias, "tied": tied, "eps": eps, "banded": banded, "scale": scale, "scale_by_layer": scale_by_layer,
        }
        band: Any = Causal() if banded is None else banded
        band = SlidingWindow(as_count(band, "GPT(banded)") - 1, 0) if isinstance(band, int) else as_mask(band) & Causal()
        with initializers.blank():          # `begin` gives the weights their values
            self.embedding = Embedding(vocabulary, width, dtype=dtype, generator=generator)
            self.places = Embedding(context, width, dtype=dtype, generator=generator)
            self.dropout = Dropout(embedding_dropout, generator)
            size = width // heads if heads else 1
            base = 1.0 / max(size, 1) ** 0.5 if scale is None else scale
            self.blocks = [
                TransformerBlock(
                    width, heads, hidden, activation, mask=band if banded is not None and i % 2 else Causal(),
                    scale=base / (i + 1) if scale_by_layer else scale, norm=lambda n: LayerNorm(n, eps, bias=bias, dtype=dtype),
                    dropout=dropout, attention_dropout=attention_dropout, linear_bias=bias, dtype=dtype, generator=generator,
                ) for i in range(count)
            ]
            self.norm = LayerNorm(width, eps, bias=bias, dtype=dtype)
            self.head = None if tied else Linear(width, vocabulary, bias=False, dtype=dtype, generator=generator)
        begin(self, count, generator)


def begin(model: LanguageModel, layers: int, generator: Generator | None, residual: bool = True) -> None:
    """Give the weights of a model their first values: normal with deviation 0.02, smaller where they end in a sum; biases 0.

    >>> model = GPT(vocabulary=2, context=2, layers=1, heads=1, width=2)
    >>> begin(model, 1, Generator(0))
    """
    for name, value in model.named_parameters().items():
        if name.endswith(("attention.output.weight", "feedforward.down.weight")) and residual:
            value.assign(initializers.gpt2_residual(value.shape, generator, layers, dtype=value.dtype))
        elif value.ndim == 2:
            value.assign(initializers.normal(value.shape, generator, 0.02, value.dtype))
        elif name.endswith(".bias"):
            value.assign(initializers.zeros(value.shape, dtype=value.dtype))
