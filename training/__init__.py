"""Where the demo's weights come from, and how to train an adapter of your own for them.

An adapter: `blueprint`, then `lora`. The base from nothing: `emoji`, `autoencoder`, `base`, then
`lora` for each style. `docs/train-an-adapter.md` and `docs/demo-model.md` lead through both.
"""
