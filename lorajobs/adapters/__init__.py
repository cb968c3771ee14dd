"""LoRA adapters: where they come from, how they are pinned to bytes, and the disk cache."""
