"""A tiny real causal language model with its tokenizer."""

import torch

CHAT = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def byte_tokenizer(chat_template=None):
    """One token per byte, so that any text can be cut anywhere."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocab = {c: i for i, c in enumerate(["<|end|>", *sorted(bytes_as_characters())])}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|end|>")
    fast.chat_template = chat_template
    return fast


def save_tiny_model(folder, chat_template=CHAT, config_class="LlamaConfig", **changes):
    """Save a real causal language model of a few thousand weights with its tokenizer."""
    import transformers

    tokenizer = byte_tokenizer(chat_template)
    sizes = {
        "vocab_size": len(tokenizer),
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 512,
        "initializer_range": 0.5,
    }
    config = getattr(transformers, config_class)(**(sizes | changes))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_tiny_gguf(file, seed=0):
    """Save a real Llama of a few thousand weights, half of them quantised, with its tokenizer in GGUF."""
    import gguf
    import numpy as np

    vocabulary = ["<unk>", "<|im_start|>", "<|im_end|>", *sorted(bytes_as_characters()), "Ye", "Yes"]
    width, heads, middle, layers = 32, 2, 64, 2
    out = gguf.GGUFWriter(file, "llama")
    out.add_name("tiny")
    out.add_block_count(layers)
    out.add_context_length(512)
    out.add_embedding_length(width)
    out.add_feed_forward_length(middle)
    out.add_head_count(heads)
    out.add_head_count_kv(heads)
    out.add_rope_freq_base(10000.0)
    out.add_layer_norm_rms_eps(1e-5)
    out.add_vocab_size(len(vocabulary))
    out.add_rope_dimension_count(width // heads)
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("smollm")
    out.add_token_list(vocabulary)
    out.add_token_types([3 if v.startswith("<") and len(v) > 1 else 1 for v in vocabulary])
    out.add_token_merges(["Y e", "Ye s"])
    out.add_bos_token_id(1)
    out.add_eos_token_id(2)
    out.add_unk_token_id(0)
    out.add_pad_token_id(2)
    out.add_add_bos_token(value=False)
    out.add_chat_template(CHAT.replace("<|end|>", "<|im_end|>"))
    shapes = {"token_embd": (len(vocabulary), width), "output_norm": (width,)}
    for i in range(layers):
        shapes |= {f"blk.{i}.{n}": (width,) for n in ("attn_norm", "ffn_norm")}
        shapes |= {f"blk.{i}.{n}": (width, width) for n in ("attn_q", "attn_k", "attn_v", "attn_output")}
        shapes |= {f"blk.{i}.{n}": (middle, width) for n in ("ffn_gate", "ffn_up")}
        shapes[f"blk.{i}.ffn_down"] = (width, middle)
    rng = np.random.default_rng(seed)
    kind = gguf.GGMLQuantizationType.Q8_0
    for name, shape in shapes.items():
        weights = rng.normal(0, 0.5, shape).astype(np.float32)
        if "ffn" in name and len(shape) == 2:
            out.add_tensor(f"{name}.weight", gguf.quants.quantize(weights, kind), raw_dtype=kind)
        else:
            out.add_tensor(f"{name}.weight", weights)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    return file


def bytes_as_characters():
    """The characters by which byte-level tokenizers write the 256 bytes."""
    from tokenizers import pre_tokenizers

    return pre_tokenizers.ByteLevel.alphabet()
