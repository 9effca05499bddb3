"""Knowledge distillation: the teacher's forward pass, and the losses on its logits and feature maps."""
