"""Fine-tuning of a language model by adapters (LoRA): TRL trains, peft attaches, the base stays frozen."""
