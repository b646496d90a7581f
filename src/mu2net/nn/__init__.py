"""Networks as chains of slots: backbones, pretrained roots, devices and arithmetic."""
