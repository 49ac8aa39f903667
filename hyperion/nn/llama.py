"""Llama: rotary positions, root-mean-square norms, gated feed-forward parts, and fewer heads of keys than of queries."""

import math
from typing import Any

from hyperion.autograd.masks import Causal
from hyperion.autograd.random import Generator
from hyperion.errors import InputError, ShapeError
from hyperion.nn import initializers
from hyperion.nn.arguments import as_count
from hyperion.nn.blocks import SwiGLU
from hyperion.nn.gpt import begin
from hyperion.nn.language import LanguageModel
from hyperion.nn.linear import Embedding, Linear
from hyperion.nn.normalization import RMSNorm
from hyperion.nn.pretrained import Layout, Row, needed, refuse
from hyperion.nn.rotary import DynamicScaling, LinearScaling, Llama3Scaling, RoPE, RoPEScaling, YaRNScaling
from hyperion.nn.transformer import TransformerBlock

__all__ = ["Llama"]


def _scaling(given: dict[str, Any], context: int) -> RoPEScaling | None:
    """Return the scaling that an entry rope_parameters (or, in older files, rope_scaling) asks for."""
    kind = given.get("rope_type", given.get("type", "default"))
    if kind == "default":
        return None
    factor = given.get("factor")
    original = int(given.get("original_max_position_embeddings") or context)
    if kind == "yarn":
        factor = context / original if factor is None else factor
        attention = given.get("attention_factor")
        if attention is None and given.get("mscale") and given.get("mscale_all_dim"):
            attention = _magnified(factor, given["mscale"]) / _magnified(factor, given["mscale_all_dim"])
        return YaRNScaling(
            float(factor), original, float(given.get("beta_fast") or 32.0), float(given.get("beta_slow") or 1.0), attention,
            bool(given.get("truncate", True)),
        )
    if factor is None:
        raise InputError(f"config.json of llama: rope_type={kind!r} without factor")
    if kind == "linear":
        return LinearScaling(float(factor))
    if kind == "dynamic":
        return DynamicScaling(float(factor), context)
    if kind == "llama3":
        return Llama3Scaling(float(factor), float(given["low_freq_factor"]), float(given["high_freq_factor"]), original)
    raise InputError(f"config.json of llama: rope_type={kind!r} is not known; known are default, linear, dynamic, llama3, yarn")


def _magnified(factor: float, scale: float) -> float:
    return 1.0 if factor <= 1.0 else 0.1 * scale * math.log(factor) + 1.0


def _described(scaling: RoPEScaling | None) -> dict[str, Any]:
    """Return the entry of config.json for a scaling."""
    if scaling is None:
        return {"rope_type": "default"}
    if isinstance(scaling, LinearScaling):
        return {"rope_type": "linear", "factor": scaling.factor}
    if isinstance(scaling, DynamicScaling):
        return {"rope_type": "dynamic", "factor": scaling.factor}
    if isinstance(scaling, Llama3Scaling):
        return {"rope_type": "llama3", "factor": scaling.factor, "low_freq_factor": scaling.low, "high_freq_factor": scaling.high,
                "original_max_position_embeddings": scaling.original}
    if isinstance(scaling, YaRNScaling):
        return {"rope_type": "yarn", "factor": scaling.factor, "original_max_position_embeddings": scaling.original,
                "beta_fast": scaling.fast, "beta_slow": scaling.slow, "truncate": scaling.truncate,
                **({} if scaling.attention is None else {"attention_factor": scaling.attention})}
    raise InputError(f"Llama.save_pretrained: a config.json of llama cannot say scaling={scaling!r}; use nn.save(model, path)")


def _arguments(config: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of Llama that a config.json asks for."""
    wrong = needed(config, "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
                   "max_position_embeddings")
    if config.get("hidden_act", "silu") not in ("silu", "swish"):
        wrong.append(f"hidden_act={config['hidden_act']!r}: Llama has silu")
    refuse("llama", wrong)
    context = config["max_position_embeddings"]
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    return {
        "vocabulary": config["vocab_size"], "context": context, "layers": config["num_hidden_layers"],
        "heads": config["num_attention_heads"], "width": config["hidden_size"], "hidden": config["intermediate_size"],
        "kv_heads": config.get("num_key_value_heads"), "head_size": config.get("head_dim"),
        "theta": float(rope.get("rope_theta") or config.get("rope_theta") or 10000.0), "scaling": _scaling(rope, context),
        "tied": bool(config.get("tie_word_embeddings", False)), "eps": float(config.get("rms_norm_eps", 1e-6)),
        "attention_dropout": float(config.get("attention_dropout") or 0.0), "attention_bias": bool(config.get("attention_bias", False)),
        "feedforward_bias": bool(config.get("mlp_bias", False)),
    }


def _config(model: "Llama") -> dict[str, Any]:
    """Return what config.json says about a Llama."""
    s = model.settings
    scaling: Any = s["scaling"]
    if isinstance(scaling, DynamicScaling) and scaling.original != s["context"]:
        raise InputError(f"Llama.save_pretrained: {scaling!r} with context={s['context']}: in a config.json of llama both lengths are one")
    described = _described(scaling)
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": s["vocabulary"],
        "max_position_embeddings": s["context"], "num_hidden_layers": s["layers"], "num_attention_heads": s["heads"],
        "num_key_value_heads": s["kv_heads"],
        "head_dim": s["head_size"], "hidden_size": s["width"], "intermediate_size": s["hidden"], "hidden_act": "silu",
        "rms_norm_eps": s["eps"], "tie_word_embeddings": s["tied"], "attention_bias": s["attention_bias"],
        "attention_dropout": s["attention_dropout"], "mlp_bias": s["feedforward_bias"], "rope_theta": s["theta"],
        "rope_scaling": None if scaling is None else described, "rope_parameters": {**described, "rope_theta": s["theta"]},
    }


def _parts(model: "Llama") -> tuple[int, ...]:
    """Return how many rows of the joined map belong to queries, keys and values."""
    one = model.blocks[0].attention
    return one.heads * one.size, one.kv_heads * one.size, one.kv_heads * one.size


BLOCK, THEIRS = "blocks.{}.", "model.layers.{}."
LAYOUT = Layout(
    "llama", "model.",
    (
        Row("embedding.weight", "model.embed_tokens.weight"),
        Row(f"{BLOCK}attention_norm.weight", f"{THEIRS}input_layernorm.weight"),
        Row(f"{BLOCK}feedforward_norm.weight", f"{THEIRS}post_attention_layernorm.weight"),
        *(Row(f"{BLOCK}attention.qkv.{part}", *(f"{THEIRS}self_attn.{x}_proj.{part}" for x in "qkv"), parts=_parts)
          for part in ("weight", "bias")),
        *(Row(f"{BLOCK}{ours}.{part}", f"{THEIRS}{theirs}.{part}") for part in ("weight", "bias")
          for ours, theirs in (("attention.output", "self_attn.o_proj"), ("feedforward.gate", "mlp.gate_proj"),
                               ("feedforward.up", "mlp.up_proj"), ("feedforward.down", "mlp.down_proj"))),
        Row("norm.weight", "model.norm.weight"),
        Row("head.weight", "lm_head.weight"),
    ),
    r".*rotary_emb\.inv_freq", _arguments, _config,
)


class Llama(LanguageModel):
    """A transformer that scores the next token, as Llama 1 to 3 are built.

    vocabulary, context, layers, heads, width: as in `GPT`.  hidden: of the feed-forward parts; None: 8/3 width, a multiple of 8.
    kv_heads: of keys and values, which divide heads; None: as many.  head_size: None: width / heads.
    theta, scaling: of the rotary positions, see `RoPE`: nn.LinearScaling, nn.DynamicScaling, nn.Llama3Scaling, nn.YaRNScaling.
    tied: the head is the embedding, transposed.  attention_bias, feedforward_bias: whether these linear maps have biases.
    Source: Touvron et al. 2023, arXiv:2302.13971 and arXiv:2307.09288; Dubey et al. 2024, arXiv:2407.21783.

    >>> Llama(vocabulary=65, context=64, layers=2, heads=4, width=32, kv_heads=2)
    Llama, 27,360 parameters
    """

    layout = LAYOUT

    def __init__(
        self, vocabulary: int, context: int, layers: int, heads: int, width: int, hidden: int | None = None, kv_heads: int | None = None,
        head_size: int | None = None, theta: float = 10000.0, scaling: RoPEScaling | None = None, tied: bool = False, eps: float = 1e-6,
        attention_dropout: float = 0.0, attention_bias: bool = False, feedforward_bias: bool = False, dtype: Any = None,
        generator: Generator | None = None,
    ) -> None:
        self.vocabulary, self.context = as_count(vocabulary, "Llama(vocabulary)"), as_count(context, "Llama(context)")
        count = as_count(layers, "Llama(layers)")
        if head_size is None and as_count(width, "Llama(width)") % as_count(heads, "Llama(heads)"):
            raise ShapeError(f"Llama: heads={heads} must divide width={width}; or give head_size")
        size = width // heads if head_size is None else as_count(head_size, "Llama(head_size)", 2)
        inner = -(-8 * width // 24) * 8 if hidden is None else hidden
        self.settings = {
            "vocabulary": vocabulary, "context": context, "layers": layers, "heads": heads, "width": width, "hidden": inner,
            "kv_heads": heads if kv_heads is None else kv_heads, "head_size": size, "theta": theta, "scaling": scaling, "tied": tied,
            "eps": eps, "attention_dropout": attention_dropout, "attention_bias": attention_bias, "feedforward_bias": feedforward_bias,
        }
        rope = RoPE(size, theta, scaling)
        self.longest = context if scaling is None else scaling.longest(context)
        with initializers.blank():          # `begin` gives the weights their values
            self.embedding = Embedding(vocabulary, width, dtype=dtype, generator=generator)
            self.places = self.dropout = None
            self.blocks = [
                TransformerBlock(
                    width, heads, kv_heads=kv_heads, head_size=head_size, mask=Causal(), rope=rope,
                    feedforward=SwiGLU(width, inner, feedforward_bias, dtype, generator), norm=lambda n: RMSNorm(n, eps, dtype=dtype),
                    attention_dropout=attention_dropout, linear_bias=attention_bias, dtype=dtype, generator=generator,
                ) for _ in range(count)
            ]
            self.norm = RMSNorm(width, eps, dtype=dtype)
            self.head = None if tied else Linear(width, vocabulary, bias=False, dtype=dtype, generator=generator)
        begin(self, count, generator, residual=False)
