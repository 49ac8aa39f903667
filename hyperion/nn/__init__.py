"""Networks: Modules, layers, models, and what trains them."""

from hyperion.autograd.masks import ALiBi, BlockSparse, Causal, Document, Mask, PrefixLM, SlidingWindow
from hyperion.autograd.modifiers import ScoreModifier, SoftCap
from hyperion.nn import functional, initializers
from hyperion.nn.attention import KVCache, MultiHeadAttention
from hyperion.nn.blocks import MLP, FeedForward, SwiGLU, UNet1d, UNet2d
from hyperion.nn.convolution import (
    AdaptiveAvgPool1d,
    AdaptiveAvgPool2d,
    AdaptiveAvgPool3d,
    AdaptiveMaxPool1d,
    AdaptiveMaxPool2d,
    AdaptiveMaxPool3d,
    AvgPool1d,
    AvgPool2d,
    AvgPool3d,
    Conv1d,
    Conv2d,
    Conv3d,
    ConvTranspose1d,
    ConvTranspose2d,
    ConvTranspose3d,
    MaxPool1d,
    MaxPool2d,
    MaxPool3d,
    Upsample,
)
from hyperion.nn.data import Arrays, Batches, HDF5Arrays, Windows, read_text, read_tokens, shuffled, write_tokens
from hyperion.nn.dropout import Dropout
from hyperion.nn.factorised import FactorisedLinear
from hyperion.nn.files import load, save
from hyperion.nn.fourier_features import FourierFeatures, Periodic
from hyperion.nn.gpt import GPT, gelu_tanh
from hyperion.nn.initializers import seed
from hyperion.nn.language import Cache, LanguageModel
from hyperion.nn.linear import Activation, Embedding, Flatten, Identity, Linear, Sequential
from hyperion.nn.llama import Llama
from hyperion.nn.losses import bce, bce_with_logits, cross_entropy, huber, kl, l1, mse, nll, relative_h1, relative_l2
from hyperion.nn.metrics import MetricsFile, mean_loss
from hyperion.nn.module import Module, capture, parameter
from hyperion.nn.normalization import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, RMSNorm
from hyperion.nn.paged import PagedKVCache
from hyperion.nn.piratenet import ModifiedMLP, PirateNet, PirateNetBlock, fit_last_layer
from hyperion.nn.rotary import DynamicScaling, LinearScaling, Llama3Scaling, RoPE, RoPEScaling, YaRNScaling
from hyperion.nn.siren import SIREN, AdaptiveActivation
from hyperion.nn.summary import Summary, summary
from hyperion.nn.tokenizers import BytePairTokenizer, CharacterTokenizer, Tokenizer
from hyperion.nn.training import LossScale, Trainer
from hyperion.nn.transformer import TransformerBlock

__all__ = ["Module", "capture", "parameter"]
__all__ += ["Summary", "functional", "initializers", "load", "save", "seed", "summary"]
__all__ += ["MLP", "FeedForward", "SwiGLU", "UNet1d", "UNet2d"]
__all__ += [
    "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d", "AdaptiveMaxPool1d", "AdaptiveMaxPool2d", "AdaptiveMaxPool3d",
    "AvgPool1d", "AvgPool2d", "AvgPool3d", "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d",
    "MaxPool1d", "MaxPool2d", "MaxPool3d", "Upsample",
]
__all__ += ["BatchNorm", "Dropout", "GroupNorm", "InstanceNorm", "LayerNorm", "RMSNorm"]
__all__ += ["Activation", "Embedding", "Flatten", "Identity", "Linear", "Sequential"]
__all__ += ["bce", "bce_with_logits", "cross_entropy", "huber", "kl", "l1", "mse", "nll", "relative_h1", "relative_l2"]
__all__ += ["Arrays", "Batches", "HDF5Arrays", "LossScale", "MetricsFile", "Trainer", "Windows"]
__all__ += ["mean_loss", "read_text", "read_tokens", "shuffled", "write_tokens"]
__all__ += ["ALiBi", "BlockSparse", "Causal", "Document", "Mask", "PrefixLM", "ScoreModifier", "SlidingWindow", "SoftCap"]
__all__ += ["DynamicScaling", "LinearScaling", "Llama3Scaling", "RoPE", "RoPEScaling", "YaRNScaling"]
__all__ += ["GPT", "Cache", "KVCache", "LanguageModel", "Llama", "MultiHeadAttention", "PagedKVCache", "TransformerBlock", "gelu_tanh"]
__all__ += ["BytePairTokenizer", "CharacterTokenizer", "Tokenizer"]
__all__ += ["SIREN", "AdaptiveActivation", "FactorisedLinear", "FourierFeatures", "ModifiedMLP", "Periodic"]
__all__ += ["PirateNet", "PirateNetBlock", "fit_last_layer"]
