"""`Seq2SeqGenerator`: a T5 of its own size over SID tokens, with the vocabulary that it writes in."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import T5Config, T5ForConditionalGeneration

from trialigngr.catalog.queries import Queries
from trialigngr.decode.beam import BeamSearch
from trialigngr.decode.encoder_decoder import EncoderDecoderModel
from trialigngr.decode.generative_recommender import GenerativeRecommender
from trialigngr.decode.settings import DecodeSettings
from trialigngr.foundation.artifact import check_file
from trialigngr.foundation.device import pick_device
from trialigngr.foundation.errors import ArtifactError, TriAlignError
from trialigngr.foundation.files import whole_file, write_text_atomically
from trialigngr.seq2seq.batches import SidSequences
from trialigngr.seq2seq.settings import Seq2SeqSettings
from trialigngr.seq2seq.vocabulary import END_TOKEN, PAD_TOKEN, SidVocabulary
from trialigngr.sids.semantic_ids import Codes
from trialigngr.sids.trie import Trie
from trialigngr.train.checkpoint import trainable_parameters

WEIGHTS_FILE, CONFIG_FILE = "model.safetensors", "model.json"
HEAD_SIZE = 64
"""Dimensions of an attention head: T5's, and that of every system of this kind."""
S = TypeVar("S", bound=Seq2SeqSettings)


class Seq2SeqGenerator(Generic[S]):
    """A T5 (Raffel et al., arXiv 1910.10683) with ReLU, tied embeddings and relative positions, in fp32."""

    def __init__(self, name: str, settings: S, codebook_sizes: Sequence[int], device: str = "auto") -> None:
        self.name, self.settings, self.device = name, settings, pick_device(device)
        self.vocabulary = build_vocabulary(settings, codebook_sizes)
        self.model: Any = T5ForConditionalGeneration(build_config(settings, self.vocabulary.size)).to(self.device)

    def build_recommender(self, codes_NL: Codes, decode: DecodeSettings, first_level: int = 0) -> GenerativeRecommender:
        """Return beam search over the SIDs of a catalogue, which may have grown since the training; over codes that
        begin at ``first_level``, where items have several SIDs."""
        level_tokens = self.vocabulary.list_level_tokens()[first_level : first_level + codes_NL.shape[1]]
        search = BeamSearch(
            EncoderDecoderModel(self.model, self.settings.one_pass), Trie.from_codes(codes_NL), level_tokens, END_TOKEN,
            decode.score_softmax, decode.precision,
        )  # fmt: skip
        sequences = self.build_sequences(codes_NL, first_level)
        return GenerativeRecommender(search, lambda rows: sequences.encode_queries(Queries([rows]))[0], decode)

    def build_sequences(self, codes_NL: Codes, first_level: int = 0, prompt: Sequence[int] = ()) -> SidSequences:
        """Return what turns histories of a catalogue into tokens."""
        settings = self.settings
        return SidSequences(self.vocabulary, codes_NL, settings.max_history, first_level, prompt, settings.one_pass)

    def save(self, folder: Path) -> None:
        """Write weights and shape."""
        weights = {name: weight.detach() for name, weight in trainable_parameters(self.model).items()}
        with whole_file(folder / WEIGHTS_FILE) as half:
            save_file(weights, half)
        shape = {
            "settings": self.settings.model_dump(mode="json"), "codebook_sizes": list(self.vocabulary.codebook_sizes)
        }  # fmt: skip
        write_text_atomically(folder / CONFIG_FILE, json.dumps(shape) + "\n")

    @classmethod
    def load(
        cls, name: str, settings_type: type[S], folder: Path, codebook_sizes: Sequence[int], device: str
    ) -> Seq2SeqGenerator[S]:
        """Read what `save` wrote; raise `ArtifactError` if it is not there, or writes other SIDs."""
        path, weights = check_file(folder / CONFIG_FILE), check_file(folder / WEIGHTS_FILE)
        try:
            shape = json.loads(path.read_text(encoding="utf-8"))
            if (known := tuple(shape["codebook_sizes"])) != tuple(codebook_sizes):
                raise ValueError(f"it writes SIDs of {' × '.join(map(str, known))} codes")
            settings, tensors = settings_type(**shape["settings"]), load_file(weights)
            _check_shapes(tensors, build_config(settings, build_vocabulary(settings, known).size))
            found = cls(name, settings, known, device)
            with torch.no_grad():
                for key, weight in trainable_parameters(found.model).items():
                    weight.copy_(tensors[key])
        except (ValueError, KeyError, TypeError, RuntimeError, SafetensorError, TriAlignError) as error:
            first = str(error).splitlines()[0]
            raise ArtifactError(
                f"{folder} holds no {name} for SIDs of {' × '.join(map(str, codebook_sizes))} codes ({first}); run "
                "the recipe again."
            ) from None
        found.model.eval()
        return found


def _check_shapes(tensors: Mapping[str, Tensor], config: T5Config) -> None:
    """Raise `ValueError` for weights that are not of a model of such a shape, which a file claims: it takes no memory
    here."""
    with torch.device("meta"):
        own = trainable_parameters(T5ForConditionalGeneration(config))
    if {key: weight.shape for key, weight in own.items()} != {key: value.shape for key, value in tensors.items()}:
        raise ValueError("it has other weights than such a model")


def build_vocabulary(settings: Seq2SeqSettings, codebook_sizes: Sequence[int]) -> SidVocabulary:
    """Return the tokens of a generator that writes codes of such codebooks."""
    return SidVocabulary(tuple(codebook_sizes), settings.num_user_buckets, settings.num_prompt_tokens)


def build_config(settings: Seq2SeqSettings, vocab_size: int) -> T5Config:
    """Return the shape of the T5."""
    return T5Config(
        vocab_size=vocab_size, d_model=settings.hidden_size, d_kv=HEAD_SIZE, d_ff=settings.ffn_size,
        num_layers=settings.num_layers, num_heads=settings.num_heads, dropout_rate=settings.dropout,
        pad_token_id=PAD_TOKEN, eos_token_id=END_TOKEN, decoder_start_token_id=PAD_TOKEN,
    )  # fmt: skip
