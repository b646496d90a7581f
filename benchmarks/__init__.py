"""Benchmarks of mu2net against a plain PyTorch fine-tuning loop; see ``README.md`` in this folder."""
