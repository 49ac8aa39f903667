"""Random-weight GPT-2 and Llama models of the transformers library, as the truth for nn.GPT and nn.Llama."""

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra interop)")
transformers = pytest.importorskip("transformers", reason="the transformers library is not installed (extra test)")

transformers.utils.logging.disable_progress_bar()

SCALINGS: list[dict[str, Any]] = [
    {"rope_type": "default"},
    {"rope_type": "linear", "factor": 2.5},
    {"rope_type": "dynamic", "factor": 3.0},
    {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 16},
    {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16},
    {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 24, "beta_fast": 8.0, "beta_slow": 2.0, "truncate": False,
     "attention_factor": 1.3},
    {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 12, "mscale": 0.7, "mscale_all_dim": 0.3},
]


def gpt2_config(seed: int) -> Any:
    """Return a random small GPT-2 configuration."""
    rng = np.random.default_rng(seed)
    heads = int(rng.integers(1, 5))
    return transformers.GPT2Config(
        vocab_size=int(rng.integers(11, 60)), n_positions=int(rng.integers(17, 40)), n_embd=heads * int(rng.integers(2, 9)),
        n_layer=int(rng.integers(1, 4)), n_head=heads, n_inner=None if rng.random() < 0.5 else int(rng.integers(5, 40)),
        activation_function=str(rng.choice(["gelu_new", "gelu", "relu", "silu", "tanh", "gelu_pytorch_tanh"])), resid_pdrop=0.0,
        embd_pdrop=0.0, attn_pdrop=0.0, layer_norm_epsilon=float(rng.choice([1e-5, 1e-4])), initializer_range=0.2,
        scale_attn_weights=bool(rng.random() < 0.8), scale_attn_by_inverse_layer_idx=bool(rng.random() < 0.3),
        tie_word_embeddings=bool(rng.random() < 0.7), bos_token_id=0, eos_token_id=None, pad_token_id=None,
    )


def llama_config(seed: int) -> Any:
    """Return a random small Llama configuration; all scalings come in turn."""
    rng = np.random.default_rng(seed)
    kept = int(rng.integers(1, 4))
    heads = kept * int(rng.integers(1, 4))
    own = None if rng.random() < 0.7 else 2 * int(rng.integers(2, 6))
    return transformers.LlamaConfig(
        vocab_size=int(rng.integers(11, 60)), hidden_size=heads * 2 * int(rng.integers(2, 6)), intermediate_size=int(rng.integers(5, 40)),
        num_hidden_layers=int(rng.integers(1, 4)), num_attention_heads=heads, num_key_value_heads=kept, head_dim=own,
        max_position_embeddings=48, rms_norm_eps=float(rng.choice([1e-6, 1e-5])), tie_word_embeddings=bool(rng.random() < 0.5),
        attention_bias=bool(rng.random() < 0.3), mlp_bias=bool(rng.random() < 0.3), initializer_range=0.2, bos_token_id=0,
        eos_token_id=None, pad_token_id=None,
        rope_parameters={"rope_theta": float(rng.choice([100.0, 10000.0, 500000.0])), **SCALINGS[seed % len(SCALINGS)]},
    )


def build(config: Any, seed: int, dtype: Any = None) -> Any:
    """Return a model with random weights, biases and norms included, in evaluation mode."""
    torch.manual_seed(seed)
    kind = transformers.GPT2LMHeadModel if config.model_type == "gpt2" else transformers.LlamaForCausalLM
    model = kind(config).eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.ndim == 1:
                value.copy_(torch.randn_like(value) * 0.2 + ("norm" in name or "ln_" in name) * name.endswith("weight"))
    return model if dtype is None else model.to(dtype)


def widen(model: Any, rope: Any) -> Any:
    """Make a Llama compute in float64 throughout: the library computes norms and rotary angles in float32, whatever the model's dtype.

    rope: ours, whose frequencies replace the float32 ones (they are compared with the library's in a test of their own).
    """
    def norm(self: Any, x: Any) -> Any:
        return self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)

    def turn(x: Any, position_ids: Any) -> tuple[Any, Any]:
        frequencies = torch.from_numpy(rope.frequencies(int(position_ids.max()) + 1))
        angles = position_ids[..., None].double() * frequencies
        angles = torch.cat((angles, angles), dim=-1)
        return angles.cos() * model.model.rotary_emb.attention_scaling, angles.sin() * model.model.rotary_emb.attention_scaling

    model.model.rotary_emb.forward = turn
    for part in model.modules():
        if type(part).__name__ == "LlamaRMSNorm":
            part.forward = norm.__get__(part)
    return model
